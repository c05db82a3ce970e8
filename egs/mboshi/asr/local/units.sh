#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# units.sh SYSTEM: what a system that reads units needs: units of all of Mboshi, and which utterances follow each other.
set -euo pipefail
: "${data:?run.sh sets it}" "${workers:?run.sh sets it}" "${device:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
name="${1%%:*}"
case "$1" in
  units | units+context) model=default inputs=() ;;
  *:*) model="${1#*:}" inputs=("$model/card.json") ;;
  *) exit 0 ;;
esac
once "$data/units/${name%+context}" "$data/corpus" "${inputs[@]}" -- speechssl units "$data/corpus/train" "$data/corpus/dev" \
  --model "$model" --format text -o "$data/units/${name%+context}" --device "$device" --workers "$workers" --quiet
case "$name" in *+context) once "$data/sessions" "$data/corpus" local/sessions.py -- local/sessions.py "$data/corpus" "$data/sessions" ;; esac
