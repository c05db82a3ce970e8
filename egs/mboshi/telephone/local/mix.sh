#!/usr/bin/env bash
# mix.sh TELEPHONE WIDE OUT: recordings of both, those of WIDE as ID-wide; no texts.
set -euo pipefail
export LC_ALL=C
rm -rf -- "$3"
mkdir -p "$3"
for table in wav.scp utt2spk; do
  { cat "$1/$table"; sed 's/ /-wide /' "$2/$table"; } | sort >"$3/$table"
done
