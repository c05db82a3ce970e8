#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# labels.sh ENCODER LAYER: k-means of a layer on train, and labels of both splits: exp/labels_ENCODER.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${num_units:?run.sh sets it}" "${seed:?run.sh sets it}" "${device:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
encoder="$1" layer="$2"
folder="$exp/$encoder"
if [ "$encoder" = mfcc ]; then device=cpu; fi # nothing to gain on a GPU
if [ -d "$folder/encoder" ]; then folder="$folder/encoder"; fi
once "$exp/kmeans_$encoder" "$data" "$exp/$encoder" -- speechssl kmeans "$data/train" --encoder "$folder" --layer "$layer" \
  --num-units "$num_units" --seed "$seed" --device "$device" --max-frames 300000 --quiet --output "$exp/kmeans_$encoder"
once "$exp/labels_$encoder" "$exp/kmeans_$encoder" -- speechssl units "$data/train" "$data/dev" \
  --model "$exp/kmeans_$encoder" --device "$device" --quiet -o "$exp/labels_$encoder"
