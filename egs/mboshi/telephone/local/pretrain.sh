#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# pretrain.sh SCHEDULE SEED: continued pre-training, EXP/pretrain/SCHEDULE.sSEED; none does nothing.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${checkpoint:?run.sh sets it}" "${pretrain_updates:?run.sh sets it}"
: "${workers:?run.sh sets it}" "${tiny:?run.sh sets it}" "${device:?run.sh sets it}" "${precision:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
. ../../utils/pretrain.sh
schedule="$1" seed="$2" small=() gpus=0
if "$tiny"; then small=(data.batching.seconds=20 training.log_every=2); fi
if [ "$device" = cuda ]; then gpus=1; fi
mixed="$data/mixed" telephone="$data/telephone/corpus/train" half="$((pretrain_updates / 2))"

# learn NAME CORPUS UPDATES ENCODER INPUT: exp/pretrain/NAME.sSEED, ENCODER after so many updates on CORPUS
learn() {
  # shellcheck disable=SC2154  # root is set by path.sh
  local out="$exp/pretrain/$1.s$seed"
  once "$out" "$exp/labels" "$root/egs/tiny/ssl/conf/tiny.toml" "$5" -- goes_on "$gpus" "$out" "$2" "$exp/labels" "$3" "$4" \
    "seed=$seed" "training.precision=\"$precision\"" "training.workers=$workers" "${small[@]}"
}
case "$schedule" in
  none) ;;
  in-domain) learn in-domain "$telephone" "$pretrain_updates" "$checkpoint" "$mixed" ;;
  mixed) learn mixed "$mixed" "$pretrain_updates" "$checkpoint" "$mixed" ;;
  mixed+in-domain)
    learn mixed-half "$mixed" "$half" "$checkpoint" "$mixed"
    learn mixed+in-domain "$telephone" "$half" "$exp/pretrain/mixed-half.s$seed/encoder" "$exp/pretrain/mixed-half.s$seed" ;;
  *) echo "$0: schedule $schedule: none, in-domain, mixed, mixed+in-domain" >&2; exit 2 ;;
esac
