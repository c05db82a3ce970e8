# shellcheck shell=bash
# Kaldi's convention: every variable set before this file is sourced is an option.
#   --some-name VALUE sets some_name; a variable that is true or false takes only these; --help prints the script's
#   header. Anything else on the command line is an error, so nothing that was typed is ever ignored.
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h)
      sed -n '2,/^[^#]/{/^# shellcheck/d;/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    --[a-z]*)
      _option="${1#--}"
      _option="${_option//-/_}"
      if ! [[ "$_option" =~ ^[a-z][a-z0-9_]*$ ]] || [ -z "${!_option+set}" ]; then
        echo "$0: unknown option $1 (see --help)" >&2
        exit 2
      fi
      if [ $# -lt 2 ]; then
        echo "$0: option $1 needs a value" >&2
        exit 2
      fi
      if [[ "${!_option}" =~ ^(true|false)$ ]] && ! [[ "$2" =~ ^(true|false)$ ]]; then
        echo "$0: option $1 takes true or false, not $2" >&2
        exit 2
      fi
      printf -v "$_option" '%s' "$2"
      shift 2
      ;;
    *)
      echo "$0: what is $1? Options are --name VALUE (see --help)" >&2
      exit 2
      ;;
  esac
done
unset _option
