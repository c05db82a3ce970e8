#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# German characters (Kerstin, CC0, 1.76 h, one voice): a recogniser on speechssl's own encoder, greedy and with a character n-gram.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          Kerstin's corpus: metadata.csv and verified/*.opus, as seen from where you stand
#   --seeds "0 1 2"  --updates 400  of 80 s each;  --order 6  of the n-gram;  --beam 30
#   --device cpu  or cuda;  --precision fp32  --workers 2  processes;  --data data --exp exp  folders for data dirs and results
#   --tiny true           a miniature that ends within a minute or two and says nothing
#   --stage 0 --stop-stage 3
set -euo pipefail
corpus='' seeds="0 1 2" updates=400 order=6 beam=30 device=cpu precision=fp32 workers=2 data=data exp=exp tiny=false stage=0 stop_stage=3
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus data exp
cd "$(dirname "$0")"
. ../../utils/path.sh
. ../../utils/asr.sh
held_out=(--valid 20 --test 40) small=() prepare=../resynth/local/prepare_data.py
if "$tiny"; then
  seeds=0 updates=2 order=2 beam=4 workers=0 data="$data/tiny" exp="$exp/tiny" held_out=(--valid 2 --test 3 --limit 8)
  small=(settings.freeze_updates=1 training.valid_every=1)
fi
parts="$data/plain"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

if at_stage 0 "$corpus -> Kaldi data dirs, plain texts"; then
  once "$data/read" "$corpus/metadata.csv" "$prepare" -- "$prepare" --corpus "$corpus" "${held_out[@]}" "$data/read"
  once "$parts" "$data/read" ../../utils/plain_parts.py -- ../../utils/plain_parts.py "$data/read" "$parts"
fi
if at_stage 1 "train, valid -> recognisers"; then train_all; fi
if at_stage 2 "train -> n-gram; valid -> its weights; test -> texts"; then decode_all; fi
if at_stage 3 "texts -> errors"; then score_all; fi
