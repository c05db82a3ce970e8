#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# evaluate.sh SYSTEM SUBSET SEED: dev transcribed by one recogniser, greedily, and its errors.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${workers:?run.sh sets it}" "${device:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
name="${1%%=*}_$2_$3"
code=0
speechssl transcribe "$data/corpus/dev" --model "$exp/$name/recognizer" -o "$exp/texts/$name" --device "$device" \
  --workers "$workers" --quiet --overwrite >"$exp/logs/$name.dev.log" 2>&1 || code=$?
if [ "$code" -gt 1 ]; then cat "$exp/logs/$name.dev.log" >&2; exit 255; fi
mkdir -p "$exp/scores"
local/score.py "$data/corpus/dev/text" "$exp/texts/$name/text" "$exp/scores/$name.json"
