# shellcheck shell=bash
# Kaldi's convention: every variable set before this file is sourced is an option.
#   --some-name VALUE sets some_name; a boolean variable (true/false) takes true or false; --help prints the script's header.
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h)
      sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    --*)
      option_name="${1#--}"
      option_name="${option_name//-/_}"
      if ! [[ "$option_name" =~ ^[a-z_][a-z0-9_]*$ ]] || [ -z "${!option_name+set}" ]; then
        echo "$0: unknown option $1 (see --help)" >&2
        exit 2
      fi
      if [ $# -lt 2 ]; then
        echo "$0: option $1 needs a value" >&2
        exit 2
      fi
      if [[ "${!option_name}" =~ ^(true|false)$ ]] && ! [[ "$2" =~ ^(true|false)$ ]]; then
        echo "$0: option $1 takes true or false, not $2" >&2
        exit 2
      fi
      printf -v "$option_name" '%s' "$2"
      shift 2
      ;;
    *) break ;;
  esac
done
unset option_name
