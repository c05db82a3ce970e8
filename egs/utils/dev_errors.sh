# shellcheck shell=bash
# dev_errors RECOGNIZER DEV TEXTS SCORES OTHER: what a recogniser writes of the data dir DEV, greedily, into the folder TEXTS, and its
# errors into the file SCORES, beside those of the texts in the folder OTHER. Needs stages.sh and path.sh, and the options
# device, workers.
# shellcheck disable=SC2154
dev_errors() {
  once "$3" "$(dirname "$1")" -- speechssl transcribe "$2" --model "$1" -o "$3" --device "$device" --workers "$workers" --quiet
  once "$4" "$3" "$5" -- speechssl score wer "$3/text" "$2/text" --count-missing --worst 0 --other "$5/text" -o "$4"
}
