#!/usr/bin/env bash
# Fisher Spanish to English units by the settings of arXiv:2107.05604 (recipes/conf/s2ut.toml: log-mels, three auxiliary tasks of letters).
# Takes what egs/utils/s2ut.sh takes, below; of its options here:
#   --corpus DIR          LDC2010S01, LDC2010T04, fisher-callhome-corpus, and spoken/ with synthesised English where you have it
#                         (local/prepare_pairs.py says how they lie); their download is yours
#   --units MODEL         the paper's are 100 units of HuBERT base, layer 6 (default: the built-in ones);  --recognizer whisper  ASR-BLEU
# The paper's numbers want --device cuda --precision bf16; nothing was trained at that size here. BLEU is against the first of four references.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ "${1:-}" = --help ]; then sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; fi
exec "$here/../../utils/s2ut.sh" --recipe "$here" --prepare "$here/local/prepare_pairs.py" --source es --target en --systems scratch \
  --conf "$here/../../../recipes/conf/s2ut.toml" --tasks "source_letter=source target_letter=target decoder_target=target" \
  --updates 400000 --beam 10 "$@"
