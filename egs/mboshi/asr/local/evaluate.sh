#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# evaluate.sh SYSTEM SUBSET SEED [ROUND]: dev transcribed by one recogniser, greedily, and its errors. Where lm names a
# language model: the log probabilities of that decoded with it instead, weight and bonus as valid has fewest wrong
# characters; the scores' names then have $decoding behind SYSTEM.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${workers:?run.sh sets it}" "${device:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
. ../../utils/asr.sh
system="${1%%[=:]*}${4:++round$4}" units="${1%%:*}" sets="$data/sets"
name="${system}_$2_$3" model="$exp/${system}_$2_$3/recognizer" texts="$exp/texts" reference="$data/corpus/dev/text"
mkdir -p "$exp/scores" "$exp/logs"
# input SYSTEM DIR: what a recogniser of this kind reads of the utterances of a data dir
input() {
  case "$1" in
    units+context | *+context:*) input=("$data/units/${units%+context}" --utt-list "$2/text" --sessions "$data/sessions") ;;
    units | *:*) input=("$data/units/$units" --utt-list "$2/text") ;;
    *) input=("$2") ;;
  esac
}
# logged LOG COMMAND...: what it prints goes to a log, and is shown where it fails
logged() {
  local log="$exp/logs/$1.log"
  shift
  "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 255; }
}
if [ -z "${lm:-}" ]; then
  input "$1" "$data/corpus/dev"
  logged "$name.dev" transcribe "$texts/$name" "${input[@]}" --model "$model" --overwrite
  local/score.py "$reference" "$texts/$name/text" "$exp/scores/$name.json"
  exit
fi
row="$system${decoding:?run.sh sets it}_$2_$3"
if [ ! -f "$texts/$name/transcripts.json" ]; then echo "$name: not transcribed yet: run.sh --stage 3" >&2; exit 255; fi
input "$1" "$sets/valid"
logged "$name.valid" once "$texts/$name.valid" "$exp/$name" "$sets" -- transcribe "$texts/$name.valid" "${input[@]}" \
  --model "$model" --overwrite
logged "$row.tune" tune_decoder "$texts/$row.decoder.json" "$texts/$name.valid" "$sets/valid/text" "$model" "$lm"
input "$1" "$data/corpus/dev"
logged "$row.dev" once "$texts/$row" "$texts/$name/transcripts.json" "$texts/$row.decoder.json" -- decode "$texts/$row" \
  "$texts/$name" "${input[@]}" --model "$model" --lm "$lm" --decoder "$texts/$row.decoder.json"
local/score.py "$reference" "$texts/$row/text" "$exp/scores/$row.json"
