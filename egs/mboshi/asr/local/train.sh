#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# train.sh SYSTEM SUBSET SEED: one training of run.sh's stage 2.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${updates:?run.sh sets it}" "${workers:?run.sh sets it}" "${tiny:?run.sh sets it}" "${device:?run.sh sets it}" "${precision:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
system="$1" subset="$2" seed="$3"
name="${system%%=*}_${subset}_$seed"
# shellcheck disable=SC2154  # root is set by path.sh
files=("$root/recipes/conf/tiny_ctc.toml")
case "$system" in
  scratch) files+=(conf/scratch.toml) encoder='encoder={family="tdnn"}' ;;
  builtin) encoder='encoder={checkpoint="default"}' ;;
  *=*) encoder="encoder={checkpoint=\"${system#*=}\"}" ;;
  *) echo "$0: system $system: scratch, builtin or NAME=FOLDER" >&2; exit 2 ;;
esac
options=("$encoder" "run=\"$exp/$name\"" "data.train=\"$data/sets/$subset\"" "data.valid=\"$data/sets/valid\""
  "vocabulary.texts=\"$data/sets/all\"" "training.updates=$updates" "training.workers=$workers" "seed=$seed"
  "device=\"$device\"" "training.precision=\"$precision\"")
if "$tiny"; then options+=(data.batching.seconds=20 training.log_every=2 training.valid_every=3 settings.freeze_updates=2); fi
mkdir -p "$exp/logs"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
once "$exp/$name" "$data/sets" "${files[@]}" -- python -m recipes.ctc "${files[@]}" "${options[@]}" \
  >"$exp/logs/$name.log" 2>&1 || { tail -n 20 "$exp/logs/$name.log"; echo "$name: failed" >&2; exit 255; }
tail -n 2 "$exp/logs/$name.log"
