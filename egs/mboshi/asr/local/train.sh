#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# train.sh SYSTEM SUBSET SEED [ROUND]: one training of run.sh's stage 2; in a ROUND of self-training on that's texts too.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${updates:?run.sh sets it}" "${workers:?run.sh sets it}" "${tiny:?run.sh sets it}" "${device:?run.sh sets it}" "${precision:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
. ../../utils/attempts.sh
system="$1" subset="$2" seed="$3" round="${4:-}"
read -ra told <<<"${more:-}"
name="${system%%[=:]*}${round:++round$round}_${subset}_$seed"
train="\"$data/sets/$subset\"" made_of=("$data/sets")
# shellcheck disable=SC2154  # root is set by path.sh
recipe=ctc files=("$root/recipes/conf/tiny_ctc.toml") tiny_options=(settings.freeze_updates=2)
case "$system" in
  scratch) files+=(conf/scratch.toml) input=('encoder={family="tdnn"}') tiny_options+=('training.give_up={after=1.0, above=9.0}') ;;
  builtin) input=('encoder={checkpoint="default"}') ;;
  continued) input=("encoder={checkpoint=\"$exp/pretrain/continued/encoder\"}") made_of+=("$exp/pretrain/continued") ;;
  *=*) input=("encoder={checkpoint=\"${system#*=}\"}") ;;
  units | units+context | *:*)
    recipe=unit_asr files=("$root/recipes/conf/tiny_unit_asr.toml") tiny_options=(settings.adaptor.num_layers=1)
    units="${system%%:*}"
    input=("data.units=[\"$data/units/${units%+context}\"]")
    case "$units" in *+context) input+=("data.sessions=\"$data/sessions\"" "settings.context={before=1, after=1}") ;; esac ;;
  *) echo "$0: system $system: scratch, builtin, continued, NAME=FOLDER, units, units+context or NAME:FOLDER" >&2; exit 2 ;;
esac
if [ -n "$round" ]; then train="[$train, \"$exp/pseudo/$name/data\"]" made_of+=("$exp/pseudo/$name"); fi
options=("${input[@]}" "run=\"$exp/$name\"" "data.train=$train" "data.valid=\"$data/sets/valid\""
  "vocabulary.texts=\"$data/sets/all\"" "training.updates=$updates" "training.workers=$workers"
  "device=\"$device\"" "training.precision=\"$precision\"" "${told[@]}")
if "$tiny"; then options+=(data.batching.seconds=20 training.log_every=2 training.valid_every=3 "${tiny_options[@]}"); fi
mkdir -p "$exp/logs"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
once "$exp/$name" "${made_of[@]}" "${files[@]}" -- attempts "$exp/$name" "$seed" python -m "recipes.$recipe" "${files[@]}" "${options[@]}" \
  >"$exp/logs/$name.log" 2>&1 || { tail -n 20 "$exp/logs/$name.log"; echo "$name: failed" >&2; exit 255; }
tail -n 2 "$exp/logs/$name.log"
