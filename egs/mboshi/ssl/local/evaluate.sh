#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# evaluate.sh NAME: scores of every layer of exp/NAME.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${num_units:?run.sh sets it}" "${seed:?run.sh sets it}" "${device:?run.sh sets it}" "${phone_shift:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
folder="$exp/$1"
if [ -d "$folder/encoder" ]; then folder="$folder/encoder"; fi
once "$exp/scores/$1.json" "$data" "$exp/$1" -- speechssl score layers "$data/dev" --train "$data/train" --encoder "$folder" \
  --phones "$data/dev/align/phones.tsv" --train-phones "$data/train/align/phones.tsv" --speakers "$data/dev/utt2spk" \
  --num-units "$num_units" --seed "$seed" --device "$device" --phone-shift="$phone_shift" --output "$exp/scores/$1.json"
