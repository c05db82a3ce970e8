# shellcheck shell=bash
# Small encoders and codebooks of them, for recipes that compare a few: needs stages.sh and path.sh, and the
# options data, exp, num_units, workers.
# shellcheck disable=SC2154

# make_small_encoder NAME SEED: exp/encoders/NAME.sSEED from conf/mfcc.toml, from conf/untrained.toml with fresh weights of
# that seed, or (builtin) the built-in model's. `default` names a whole unit model and needs none.
make_small_encoder() {
  local out="$exp/encoders/$1.s$2"
  case "$1" in
    mfcc) once "$out" conf/mfcc.toml -- ../../utils/make_encoder.py conf/mfcc.toml "$out" ;;
    untrained) once "$out" conf/untrained.toml -- ../../utils/make_encoder.py conf/untrained.toml "$out" tdnn "$2" ;;
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
