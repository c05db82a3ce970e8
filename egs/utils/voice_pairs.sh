# shellcheck shell=bash disable=SC2154
# Parallel recordings of two voices or more, each in the other's: what the recipes of voice conversion share. PAIR is SOURCE-TARGET.

# made_of PAIR ROW: what a row is, as $made: target, source; of what is spoken in $spoken as PAIR: converted, own (the target in its own
# voice), kept (the source in its own), copy (the target's recordings by the vocoder alone).
made_of() {
  local from="${1%-*}" to="${1#*-}"
  case "$2" in
    target) made="$data/test/$to" ;;
    source) made="$data/test/$from" ;;
    converted) made="$spoken/$1" ;;
    own) made="$spoken/$to-$to" ;;
    kept) made="$spoken/$from-$from" ;;
    copy) made="$exp/speech/copy/$to" ;;
  esac
}

# score_pairs STAGE SCORES "PAIR ..." "ROW ...": every row of every pair beside what the target says, heard too where heard.sh is there.
# Sets rows, for speech_table.py. A recipe with other rows defines made_of after this file.
score_pairs() {
  local pair row input scoring=false
  rows=''
  if at_stage "$1" "speech -> scores"; then scoring=true; fi
  for pair in $3; do
    for row in $4; do
      rows+=" $pair.$row"
      if ! "$scoring"; then continue; fi
      made_of "$pair" "$row"
      input=("$made")
      if [ ! -f "$made.done" ]; then input=(); fi
      # shellcheck disable=SC2086  # measures are options
      once "$2/$pair.$row.json" "$data" "${input[@]}" -- speechssl score speech "$data/test/${pair#*-}" "$made" $measures -o "$2/$pair.$row.json"
      if declare -F heard >/dev/null; then said="$data/test/${pair#*-}" heard "$pair.$row" "$made" "${input[@]}"; fi
    done
  done
}
