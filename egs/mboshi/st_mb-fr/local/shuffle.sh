#!/usr/bin/env bash
# shuffle.sh TEXT OUT: every text under the id half the table further on.
set -euo pipefail
half="$(($(wc -l <"$1") / 2))"
paste -d ' ' <(cut -d ' ' -f 1 "$1") <({ tail -n +"$((half + 1))" "$1"; head -n "$half" "$1"; } | sed 's/^[^ ]* *//') >"$2"
