#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Phonemes of a language that the recogniser never heard (arXiv:2109.11680): Tux Paint's spoken captions of pictures.
# usage: run.sh --stamps DIR [--option value ...]
#   --stamps DIR            the Debian package tuxpaint-stamps-default, unpacked, as seen from where you stand
#   --download true         fetch it into that folder (161 MB; needs apt-get, dpkg)
#   --left-out "es fr ro"   a training for each, on all of the others ("all": nine trainings); es+fr: one training without both
#   --languages "..."       what there is, with captions in all of them;  --encoder default  the built-in one, or any encoder's folder
#   --updates 500           of every training, of --seconds 80 of speech each;  --freeze 60  of them with the encoder as it was
#   --seeds "0 1 2 3 4"     of the random maps;  --order 4  of the n-gram of phones;  --beam 30
#   --tune-on ca            a language of the training whose validation part chooses the language model's weight and bonus
#   --device cpu --precision bf16 --workers 0
#   --data data --exp exp   folders for data dirs and results
#   --tiny true             a miniature that ends within minutes;  --stage 0 --stop-stage 4
# The test's pictures are in no training, of any language; other pictures' captions are, in eight languages, but not in the ninth:
# pictures are shared, words are not (names and loans apart). Every language has one voice, so a language left out is a voice left out.
set -euo pipefail
stamps='' download=false left_out="es fr ro" languages="fr ro ru ca bg es be el da" encoder=default updates=500 seconds=80 freeze=60
seeds="0 1 2 3 4" order=4 beam=30 tune_on=ca device=cpu precision=bf16 workers=0 data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if "$download" && [ -n "$stamps" ]; then mkdir -p "$stamps"; fi
if [ ! -d "$stamps" ]; then echo "$0: --stamps must name a folder, not '$stamps'" >&2; exit 2; fi
absolute stamps data exp encoder
cd "$(dirname "$0")"
. ../../utils/path.sh
if [ "$left_out" = all ]; then left_out="$languages"; fi
if "$tiny"; then limit=20 updates=4 seconds=20 freeze=1 data="$data/tiny" exp="$exp/tiny"; else limit=0 data="$data/full"; fi
export data exp languages encoder updates seconds freeze seeds order beam tune_on device precision workers

if at_stage 0 "$stamps -> Kaldi data dirs of every language"; then
  if "$download"; then ../../utils/debian_packages.sh "$stamps" tuxpaint-stamps-default; fi
  once "$data/captions" local/prepare_data.py -- local/prepare_data.py "$stamps" "$data/captions" --languages "$languages" --limit "$limit"
fi
if at_stage 1 "texts -> phones"; then
  once "$data/phones" "$data/captions" local/phones.sh -- local/phones.sh "$data/captions" "$data/phones"
fi
if at_stage 2 "phones of all but the left-out languages -> recognisers"; then
  for name in $left_out; do local/train.sh "$name"; done
fi
if at_stage 3 "recognisers, the test in every language -> phones, by the maps, with a language model"; then
  for name in $left_out; do local/decode.sh "$name"; done
fi
if at_stage 4 "phones -> errors and table"; then
  for name in $left_out; do local/score.py "$name" "$data" "$exp" "$exp/scores/$name.json"; done
fi
