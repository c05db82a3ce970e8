#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# subsets.sh TRAIN OUT: OUT/valid (5 minutes that nothing is learned from), OUT/all (the rest), and of it OUT/1h and
# OUT/10m, the shorter in the longer. Texts stay as they are: Mboshi's own spelling with its diacritics, NFC.
set -euo pipefail
: "${tiny:?run.sh sets it}"
train="$1" out="$2"
if "$tiny"; then lengths="valid:20 1h:60 10m:20"; else lengths="valid:300 1h:3600 10m:600"; fi
rm -rf -- "$out"
mkdir -p "$out"
from="$train"
for pair in $lengths; do
  name="${pair%%:*}"
  local/subset.py "$from" "${pair#*:}" 0 >"$out/$name.ids"
  speechssl data subset --utt-list "$out/$name.ids" "$from" "$out/$name" >/dev/null
  if [ "$name" = valid ]; then
    cut -d' ' -f1 "$train/wav.scp" | grep -vxFf "$out/valid.ids" >"$out/all.ids"
    speechssl data subset --utt-list "$out/all.ids" "$train" "$out/all" >/dev/null
    from="$out/all"
  fi
done
wc -l "$out"/*.ids
