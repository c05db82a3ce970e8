# shellcheck shell=bash
# once OUT INPUT... -- COMMAND...
#   COMMAND makes OUT (a file or folder) from the INPUTs. It is run unless the very same command has already made OUT
#   from the same inputs: OUT.done holds the command and the inputs' checksums (of a folder INPUT its own .done). With
#   other settings OUT is removed and made anew, so nothing stale is ever served. After an interruption the command
#   runs again and may continue in OUT.
once() {
  local out="$1" input inputs="" key=""
  shift
  while [ "$1" != "--" ]; do
    input="$1"
    inputs+="$input "
    if [ -f "$input.done" ]; then key+="$(cksum <"$input.done") $input"$'\n'; else key+="$(cksum "$input")"$'\n'; fi
    shift
  done
  shift
  key+="$*"
  if [ -e "$out" ] && [ "$(cat "$out.done" 2>/dev/null)" = "$key" ]; then
    echo "  $inputs-> $out: done before"
    return
  fi
  if [ "$(cat "$out.begun" 2>/dev/null)" != "$key" ]; then rm -rf -- "$out"; fi
  rm -f -- "$out.done"
  mkdir -p "$(dirname "$out")"
  printf '%s\n' "$key" >"$out.begun"
  echo "  $inputs-> $out: $*"
  "$@"
  mv -- "$out.begun" "$out.done"
}
