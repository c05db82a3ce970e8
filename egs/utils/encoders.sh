# shellcheck shell=bash
# Small encoders, codebooks of them and scores of whole utterances, for recipes that compare a few: needs stages.sh and path.sh,
# and the options data, exp, scores, num_units, workers, encoders, poolings, each_layer, units, neighbours, tasks, seeds.
# shellcheck disable=SC2154

# make_small_encoder NAME SEED: exp/encoders/NAME.sSEED from utils/conf/mfcc.toml, utils/conf/untrained.toml with fresh weights of
# that seed, or (builtin) the built-in model's. `default` names a whole unit model and needs none.
make_small_encoder() {
  local out="$exp/encoders/$1.s$2"
  case "$1" in
    mfcc) once "$out" ../../utils/conf/mfcc.toml -- ../../utils/make_encoder.py ../../utils/conf/mfcc.toml "$out" ;;
    untrained) once "$out" ../../utils/conf/untrained.toml -- ../../utils/make_encoder.py ../../utils/conf/untrained.toml "$out" tdnn "$2" ;;
    builtin) once "$out" "$root/speechssl/assets/default/card.json" -- cp -rT "$root/speechssl/assets/default/encoder" "$out" ;;
    default) ;;
    *) echo "$0: the encoders known here are mfcc, untrained and builtin, and default is a unit model; not $1" >&2; exit 2 ;;
  esac
}

# learn_units NAME SEED TRAIN: the unit model exp/models/NAME.sSEED, k-means of num_units on TRAIN (on the last layer), or
# the built-in one for `default`.
learn_units() {
  local out="$exp/models/$1.s$2" encoder="$exp/encoders/$1.s$2" layer=5
  if [ "$1" = default ]; then
    once "$out" "$root/speechssl/assets/default/card.json" -- cp -rT "$root/speechssl/assets/default" "$out"
    return
  fi
  if [ "$1" = mfcc ]; then layer=0; fi
  once "$out" "$data" "$encoder" -- speechssl kmeans "$3" --encoder "$encoder" --layer "$layer" --num-units "$num_units" \
    --seed "$2" --max-frames 300000 --workers "$workers" --quiet -o "$out"
}

# units_of_all TRAIN CORPUS...: encoders and codebooks for every seed, exp/units/NAME.sSEED of all CORPUS. SEED in TRAIN is the seed.
units_of_all() {
  local train="$1" seed name
  shift
  for seed in $seeds; do
    for name in $encoders $units; do make_small_encoder "$name" "$seed"; done
    for name in $units; do
      learn_units "$name" "$seed" "${train//SEED/$seed}"
      once "$exp/units/$name.s$seed" "$data" "$exp/models/$name.s$seed" -- speechssl units "$@" --model \
        "$exp/models/$name.s$seed" --workers "$workers" --quiet -o "$exp/units/$name.s$seed"
    done
  done
}

# probes_of_all: scores/ENCODER_POOLING.TASK.sSEED.json of `speechssl score utterances`; the recipe's function
# `utterances TASK SEED` fills the array args with what is tested and learned from, and the labels.
probes_of_all() {
  local seed encoder pooling task out layers=() args
  if "$each_layer"; then layers=(--each-layer); fi
  for seed in $seeds; do for encoder in $encoders; do for pooling in $poolings; do for task in $tasks; do
    out="$scores/${encoder}_$pooling.$task.s$seed.json"
    utterances "$task" "$seed"
    once "$out" "$data" "$exp/encoders/$encoder.s$seed" -- speechssl score utterances "${args[@]}" --encoder \
      "$exp/encoders/$encoder.s$seed" --pooling "$pooling" --seed "$seed" "${layers[@]}" -o "$out"
  done; done; done; done
}

# neighbours_of_all: scores/MODEL_units.TASK.sSEED.json of `speechssl score neighbours`; the recipe's function
# `units_of TASK SEED UNITS` fills the array args as above.
neighbours_of_all() {
  local seed model task out args
  for seed in $seeds; do for model in $units; do for task in $tasks; do
    out="$scores/${model}_units.$task.s$seed.json"
    units_of "$task" "$seed" "$exp/units/$model.s$seed"
    once "$out" "$data" "$exp/units/$model.s$seed" -- speechssl score neighbours "${args[@]}" -k "$neighbours" -o "$out"
  done; done; done
}

# table_rows: the rows of class_table.py, of the options encoders, poolings and units.
table_rows() {
  local encoder pooling model
  for encoder in $encoders; do for pooling in $poolings; do printf '%s ' "${encoder}_$pooling"; done; done
  for model in $units; do printf '%s ' "${model}_units"; done
}
