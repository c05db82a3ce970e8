# shellcheck shell=bash disable=SC2154
# heard ROW MADE INPUT...: what $recognizer writes of the speech MADE, made from the INPUTs, and its errors against the texts of
# $said (without: $data/test): $exp/texts/ROW and $exp/scores/ROW.wer.json; nothing without a recognizer, which may be "whisper".
# Needs stages.sh and the option workers.
heard() {
  local row="$1" made="$2" card=("$recognizer/card.json")
  shift 2
  if [ -z "$recognizer" ]; then return; fi
  if [ ! -f "${card[0]}" ]; then card=(); fi
  once "$exp/texts/$row" "$data" "$@" "${card[@]}" -- speechssl transcribe "$made" --model "$recognizer" \
    --workers "$workers" --quiet -o "$exp/texts/$row"
  once "$exp/scores/$row.wer.json" "$exp/texts/$row" -- speechssl score wer "$exp/texts/$row/text" "${said:-$data/test}/text" --case lower \
    --punctuation remove --worst 0 -o "$exp/scores/$row.wer.json"
}
