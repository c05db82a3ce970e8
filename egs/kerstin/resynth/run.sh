#!/usr/bin/env bash
# German sentences (Kerstin, CC0, 1.76 h, one voice) through units and back; 40 of them are the test. Takes what egs/utils/resynth.sh takes,
# below; of its options here:
#   --corpus DIR          Kerstin's corpus: metadata.csv and verified/*.opus
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ "${1:-}" = --help ]; then sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; fi
exec "$here/../../utils/resynth.sh" --recipe "$here" --licence CC0-1.0 "$@"
