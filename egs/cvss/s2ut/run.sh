#!/usr/bin/env bash
# CVSS-C (arXiv:2201.03713), 21 languages into English, by the settings of Enhanced S2UT (arXiv:2204.02967; recipes/conf/s2ut_enhanced.toml):
# an SSL encoder, the decoder of a unit mBART. Takes what egs/utils/s2ut.sh takes, below; of its options here:
#   --corpus DIR          Common Voice 4 and CVSS-C, unpacked (local/prepare_pairs.py says how they lie); their download is yours
#   --source es           or any of its languages;  --encoder CHECKPOINT  wav2vec 2.0 of the source language: give one (default: the built-in)
#   --units MODEL         of English; the paper's are 1,000 units of mHuBERT's layer 11
# The paper's numbers want --device cuda --precision bf16 and hundreds of hours of GPUs; nothing was trained at that size here. Folders: by pair.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
conf="$here/../../../recipes/conf"
if [ "${1:-}" = --help ]; then sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; fi
exec "$here/../../utils/s2ut.sh" --recipe "$here" --prepare "$here/local/prepare_pairs.py" --source es --target en --by-pair true --systems ssl+bart \
  --conf "$conf/s2ut_enhanced.toml" --bart-conf "$conf/unit_bart.toml" --adaptor-layers 0 --updates 20000 --bart-updates 500000 --beam 10 "$@"
