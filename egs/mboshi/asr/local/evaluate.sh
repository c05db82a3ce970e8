#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# evaluate.sh SYSTEM SUBSET SEED [ROUND]: dev transcribed by one recogniser, greedily, and its errors; where lm names a
# language model, with it as well.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${workers:?run.sh sets it}" "${device:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
system="${1%%[=:]*}${4:++round$4}"
name="${system}_$2_$3"
units="${1%%:*}"
case "$1" in
  units+context | *+context:*)
    input=("$data/units/${units%+context}" --utt-list "$data/corpus/dev/text" --sessions "$data/sessions") ;;
  units | *:*) input=("$data/units/$units" --utt-list "$data/corpus/dev/text") ;;
  *) input=("$data/corpus/dev") ;;
esac
mkdir -p "$exp/scores"
transcribe() {
  local row="$1" code=0
  shift
  speechssl transcribe "${input[@]}" --model "$exp/$name/recognizer" -o "$exp/texts/$name" --device "$device" \
    --workers "$workers" --quiet "$@" >"$exp/logs/$row.dev.log" 2>&1 || code=$?
  if [ "$code" -gt 1 ]; then cat "$exp/logs/$row.dev.log" >&2; exit 255; fi
  local/score.py "$data/corpus/dev/text" "$exp/texts/$name/text" "$exp/scores/$row.json"
}
transcribe "$name" --overwrite
if [ -n "${lm:-}" ]; then
  # shellcheck disable=SC2086,SC2154  # search: options, split on purpose
  transcribe "${system}+lm_$2_$3" --lm "$lm" $search
fi
