#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# The built-in unit model: k-means on MFCCs of permissively licensed speech.
# usage: run.sh --corpora DIR [--option value ...]
#   --corpora DIR           the folder with kerstin/ librispeech_subset/ speech_to_intent/, as seen from where you stand
#   --num-units 100         codebook size;  --seed 0
#   --workers 2             processes
#   --exp exp               folder for results; exp/model is what ships as speechssl/assets/default
#   --stage 0 --stop-stage 1
set -euo pipefail
corpora='' num_units=100 seed=0 workers=2 exp=exp stage=0 stop_stage=1
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if [ ! -d "$corpora" ]; then echo "$0: --corpora must name a folder, not '$corpora'" >&2; exit 2; fi
absolute corpora
cd "$(dirname "$0")"
. ../../utils/path.sh

if at_stage 0 "conf/mfcc.toml -> $exp/encoder"; then
  once "$exp/encoder" conf/mfcc.toml ../../utils/make_encoder.py -- ../../utils/make_encoder.py conf/mfcc.toml "$exp/encoder"
fi
if at_stage 1 "$corpora -> $exp/model"; then
  mkdir -p "$exp"
  exp="$(cd "$exp" && pwd)"
  once "$exp/model" "$exp/encoder" -- env -C "$corpora" speechssl kmeans kerstin/verified librispeech_subset \
    speech_to_intent/speech --encoder "$exp/encoder" --layer 0 --num-units "$num_units" --seed "$seed" --restarts 3 \
    --max-frames 500000 --workers "$workers" --name "MFCC k-means $num_units" --licence CC-BY-4.0 --output "$exp/model"
fi
