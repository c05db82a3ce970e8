#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# continued.sh SYSTEM: what the system continued needs: EXP/pretrain/continued, the built-in encoder after more pre-training on all of
# train's speech, without its texts; its labels are units of the built-in encoder's last layer, learned on the same speech.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${continued_updates:?run.sh sets it}" "${num_units:?run.sh sets it}"
: "${workers:?run.sh sets it}" "${tiny:?run.sh sets it}" "${device:?run.sh sets it}" "${precision:?run.sh sets it}"
if [ "$1" != continued ]; then exit 0; fi
. ../../utils/path.sh
. ../../utils/stages.sh
. ../../utils/pretrain.sh
# shellcheck disable=SC2154  # root is set by path.sh
train="$data/corpus/train" out="$exp/pretrain" builtin="$root/speechssl/assets/default/encoder" small=() gpus=0
if "$tiny"; then small=(data.batching.seconds=20 training.log_every=2); fi
if [ "$device" = cuda ]; then gpus=1; fi
once "$out/kmeans" "$data/corpus" -- speechssl kmeans "$train" --encoder "$builtin" --layer 5 --num-units "$num_units" --seed 0 \
  --max-frames 300000 --workers "$workers" --device "$device" --quiet -o "$out/kmeans"
once "$out/labels" "$data/corpus" "$out/kmeans" -- speechssl units "$train" --model "$out/kmeans" --workers "$workers" --device "$device" \
  --quiet -o "$out/labels"
once "$out/continued" "$out/labels" "$root/egs/tiny/ssl/conf/tiny.toml" -- goes_on "$gpus" "$out/continued" "$train" "$out/labels" \
  "$continued_updates" "$builtin" optimizer.lr=1e-3 seed=0 "training.precision=\"$precision\"" "training.workers=$workers" "${small[@]}"
