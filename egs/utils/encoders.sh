# shellcheck shell=bash
# Small encoders and codebooks of them, for recipes that compare a few: needs stages.sh and path.sh, and the
# options data, exp, num_units, workers, encoders, poolings, units.
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

# table_rows: the rows of class_table.py, of the options encoders, poolings and units.
table_rows() {
  local encoder pooling model
  for encoder in $encoders; do for pooling in $poolings; do printf '%s ' "${encoder}_$pooling"; done; done
  for model in $units; do printf '%s ' "${model}_units"; done
}
