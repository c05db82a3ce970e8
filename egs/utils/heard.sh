# shellcheck shell=bash disable=SC2154
# heard ROW MADE INPUT...: what $recognizer writes of the speech MADE, made from the INPUTs, and its errors against the texts of
# $data/test: $exp/texts/ROW and $exp/scores/ROW.wer.json; nothing without a recognizer. Needs stages.sh and the option workers.
heard() {
  local row="$1" made="$2"
  shift 2
  if [ -z "$recognizer" ]; then return; fi
  once "$exp/texts/$row" "$data" "$@" "$recognizer/card.json" -- speechssl transcribe "$made" --model "$recognizer" \
    --workers "$workers" --quiet -o "$exp/texts/$row"
  once "$exp/scores/$row.wer.json" "$exp/texts/$row" -- speechssl score wer "$exp/texts/$row/text" "$data/test/text" --case lower \
    --punctuation remove --worst 0 -o "$exp/scores/$row.wer.json"
}
