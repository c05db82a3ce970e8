# shellcheck shell=bash
# at_stage N "what it does": whether stage N is asked for (--stage, --stop-stage); says so.
at_stage() {
  # shellcheck disable=SC2154  # stage and stop_stage are options of the script
  if [ "$stage" -gt "$1" ] || [ "$stop_stage" -lt "$1" ]; then return 1; fi
  echo "stage $1: $2"
}

# absolute VARIABLE...: those that name files or folders, as seen from where the caller stands, become absolute paths.
absolute() {
  local name
  for name; do
    if [ -e "${!name}" ]; then
      printf -v "$name" '%s/%s' "$(cd "$(dirname "${!name}")" && pwd)" "$(basename "${!name}")"
    fi
  done
}

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
  if [ -e "$out" ] && [ ! -f "$out.done" ] && [ ! -f "$out.begun" ]; then
    echo "$0: $out is there but not from here: move it away or choose another folder" >&2
    exit 2
  fi
  if [ "$(cat "$out.begun" 2>/dev/null)" != "$key" ]; then rm -rf -- "$out"; fi
  rm -f -- "$out.done"
  mkdir -p "$(dirname "$out")"
  printf '%s\n' "$key" >"$out.begun"
  echo "  $inputs-> $out: $*"
  "$@" || return # set -e does not hold where a caller writes `once ... || ...`
  mv -- "$out.begun" "$out.done"
}

# in_part COMMAND...: COMMAND, whose exit code 1 (done, but some utterances were left out, as its report says) stops nothing here.
in_part() { "$@" || [ $? = 1 ]; }
