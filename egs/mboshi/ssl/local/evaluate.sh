#!/usr/bin/env bash
# evaluate.sh NAME: scores of every layer of exp/NAME.
set -euo pipefail
. ../../utils/path.sh
. ../../utils/stages.sh
folder="$exp/$1"
if [ -d "$folder/encoder" ]; then folder="$folder/encoder"; fi
once "$exp/scores/$1.json" "$data" "$exp/$1" local/evaluate.py -- python local/evaluate.py "$folder" "$data" \
  --num-units "$num_units" --seed "$seed" --device "$device" --phone-shift="$phone_shift" --output "$exp/scores/$1.json"
