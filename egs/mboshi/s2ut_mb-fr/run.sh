#!/usr/bin/env bash
# Mboshi speech to units of French that a machine says (espeak-ng; 5,130 utterances, 4.5 h, three speakers; the test is the corpus's dev).
# Takes what egs/utils/s2ut.sh takes, below; of its options here:
#   --corpus DIR          the Mboshi folder (train/ dev/ utterances.tsv); nothing is downloaded
#   --voice true          a vocoder of the robot's voice; no recogniser of French comes along for ASR-BLEU
# Mboshi has no writing of its own; multitask reads the corpus's transcripts.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
if [ "${1:-}" = --help ]; then sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; fi
exec "$here/../../utils/s2ut.sh" --recipe "$here" --prepare "$here/local/prepare_pairs.py" --source mb --target fr "$@"
