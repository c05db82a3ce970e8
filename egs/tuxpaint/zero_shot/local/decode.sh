#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# decode.sh NAME: exp/emissions/NAME, log probabilities of every language's test by recogniser NAME (es, or es+fr), and
# exp/texts/NAME/LANGUAGE/SYSTEM, what decode.py makes of them.
set -euo pipefail
: "${data:?run.sh sets it}" "${exp:?}" "${languages:?}" "${seeds:?}" "${order:?}" "${beam:?}" "${tune_on:?}" "${device:?}" "${workers:?}"
. ../../utils/path.sh
name="$1" inputs=("$data/phones/$tune_on/valid") code=0
for language in $languages; do inputs+=("$data/phones/$language/test"); done
mkdir -p "$exp/logs"
speechssl transcribe "${inputs[@]}" --model "$exp/$name/recognizer" -o "$exp/emissions/$name" --device "$device" --workers "$workers" --quiet \
  >"$exp/logs/$name.transcribe.log" 2>&1 || code=$?
if [ "$code" -gt 1 ]; then cat "$exp/logs/$name.transcribe.log" >&2; exit 255; fi
local/decode.py "$name" --data "$data" --exp "$exp" --languages "$languages" --tune-on "$tune_on" --seeds "$seeds" --order "$order" --beam "$beam"
