#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# pseudo.sh SYSTEM SUBSET SEED ROUND: what the recogniser of the round before writes of the rest of train, and which of it
# is learned from: EXP/pseudo/NAME with data/, labels.tsv, report.json.
set -euo pipefail
: "${exp:?self_training.sh sets it}" "${data:?self_training.sh sets it}" "${lm:?self_training.sh sets it}"
: "${search:?self_training.sh sets it}" "${keep:?self_training.sh sets it}" "${deviations:?self_training.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
subset="$2" round="$4" before="$(($4 - 1))"
name="${1%%[=:]*}+round${round}_${subset}_$3"
teacher="${1%%[=:]*}+round${before}_${subset}_$3"
teacher="${teacher/+round0/}"
transcribe() {
  local code=0
  # shellcheck disable=SC2086,SC2154  # search: options, split on purpose; device and workers are self_training.sh's
  speechssl transcribe "$data/rest/$subset" --model "$exp/$teacher/recognizer" -o "$exp/texts/$name.rest" --format json \
    --device "$device" --workers "$workers" --quiet --lm "$lm" $search || code=$?
  [ "$code" -le 1 ] # 1: some recordings could not be used
}
select_labels() {
  rm -rf -- "$exp/pseudo/$name"
  speechssl data pseudo "$data/rest/$subset" "$exp/pseudo/$name" --transcripts "$exp/texts/$name.rest/json" \
    --labelled "$data/sets/$subset" --keep "$keep" --deviations "$deviations" --truth "$data/rest/$subset"
}
once "$exp/texts/$name.rest" "$exp/$teacher" "$data/rest/$subset" "$lm" -- transcribe "$search"
once "$exp/pseudo/$name" "$exp/texts/$name.rest" -- select_labels "$keep" "$deviations"
