#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# call.sh IN OUT LINE LOSS WORKERS: OUT/train and OUT/dev, the recordings of IN as they come out of a telephone, at 8 kHz.
set -euo pipefail
. ../../utils/path.sh
rm -rf -- "$2"
mkdir -p "$2"
for split in train dev; do
  speechssl data augment "$1/$split" "$2/$split" --telephone "$3" --packet-loss "$4" --rate 8000 --workers "$(($5 > 0 ? $5 : 1))"
done
