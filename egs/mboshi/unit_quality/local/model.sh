#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# model.sh MODEL: the unit model exp/MODEL/model of run.sh's stage 1.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${num_units:?run.sh sets it}" "${seed:?run.sh sets it}" "${workers:?run.sh sets it}"
: "${levels:?run.sh sets it}" "${updates:?run.sh sets it}" "${iterations:?run.sh sets it}" "${tiny:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
. ../../utils/pretrain.sh
model="$1" default="$root/speechssl/assets/default" tdnn="$exp/encoder_tdnn"
small=()
if "$tiny"; then small=(data.batching.seconds=20 training.log_every=2); fi
# copy SOURCE TARGET INPUT
copy() { once "$2" "$3" -- cp -rT "$1" "$2"; }
# learn MODEL ENCODER LAYER [OPTION...]: on Mboshi train
learn() {
  once "$exp/$1/model" "$data" "$2" -- speechssl kmeans "$data/train" --encoder "$2" --layer "$3" --seed "$seed" \
    --max-frames 300000 --workers "$workers" --quiet -o "$exp/$1/model" "${@:4}"
}
# labels NAME UNIT_MODEL: its units of train and dev in exp/labels_NAME
labels() {
  once "$exp/labels_$1" "$data" "$2" -- speechssl units "$data/train" "$data/dev" --model "$2" --workers "$workers" --quiet \
    -o "$exp/labels_$1"
}
# train RUN RECIPE LABELS UNIT_MODEL: from the built-in model's encoder, towards these labels
train() {
  once "$exp/$1" "$data" "conf/$model.toml" "$tdnn" "$exp/labels_$3" -- pretrain 0 "$root/recipes/conf/$2.toml" "conf/$model.toml" \
    "run=\"$exp/$1\"" "encoder={checkpoint=\"$tdnn\"}" "data.train=\"$data/train\"" "data.valid=\"$data/dev\"" \
    "data.labels=\"$exp/labels_$3\"" "training.updates=$updates" "training.workers=$workers" "seed=$seed" "${small[@]}"
  once "$4" "$exp/$1" -- speechssl convert "$exp/$1" "$4" --to unit-model
}
kmeans() { learn tdnn "$tdnn" 5 --num-units "$num_units"; }

mkdir -p "$exp/$model"
case "$model" in
  tdnn*) copy "$default/encoder" "$tdnn" "$default/card.json" ;;
esac
case "$model" in
  mfcc)
    once "$exp/encoder_mfcc" ../units/conf/mfcc.toml -- ../../utils/make_encoder.py ../units/conf/mfcc.toml "$exp/encoder_mfcc"
    learn mfcc "$exp/encoder_mfcc" 0 --num-units "$num_units"
    ;;
  default) copy "$default" "$exp/default/model" "$default/card.json" ;;
  tdnn) kmeans ;;
  tdnn_product | tdnn_residual)
    each="$(awk -v v="$num_units" 'BEGIN { printf "%d", sqrt(v) + 0.5 }')"
    learn "$model" "$tdnn" 5 --quantizer "${model#tdnn_}" --codebooks 2 --num-units "$each"
    ;;
  tdnn_fsq) learn "$model" "$tdnn" 5 --quantizer fsq --levels "$levels" ;;
  tdnn_soft)
    kmeans
    labels tdnn "$exp/tdnn/model"
    train soft soft_units tdnn "$exp/$model/model"
    ;;
  tdnn_invariant)
    kmeans
    labels tdnn "$exp/tdnn/model"
    before=tdnn
    for ((i = 1; i < iterations; i++)); do
      train "invariant$i" augmentation_invariant "$before" "$exp/model_invariant$i"
      before="invariant$i"
      labels "$before" "$exp/model_$before"
    done
    train "invariant$iterations" augmentation_invariant "$before" "$exp/$model/model"
    ;;
  *) echo "run.sh: --models knows mfcc, default, tdnn, tdnn_product, tdnn_residual, tdnn_fsq, tdnn_soft and tdnn_invariant, not $model" >&2; exit 2 ;;
esac
