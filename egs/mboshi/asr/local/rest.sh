#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# rest.sh SETS SUBSET OUT: the utterances of SETS/all that are not in SETS/SUBSET; their texts serve for scores alone.
set -euo pipefail
. ../../utils/path.sh
ids="$(mktemp)"
trap 'rm -f -- "$ids"' EXIT
grep -vxFf "$1/$2.ids" "$1/all.ids" >"$ids"
rm -rf -- "$3"
speechssl data subset --utt-list "$ids" "$1/all" "$3"
