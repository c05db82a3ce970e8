#!/usr/bin/env bash
# Units of a large corpus as a Slurm array: 100 tasks share one output folder, the last to finish writes the final files.
#
#   sbatch --array=0-99 egs/utils/slurm_units.sh --input corpus.tsv --output /shared/units
#   squeue --me;  speechssl verify /shared/units
#
# Tasks that failed or were preempted: the same command again; what is done is not done again. A single one:
#   sbatch --array=0 egs/utils/slurm_units.sh ... --shard 17/100
# The input, the model and the output folder must be seen by all nodes under the same paths, and the file system must
# have working locks (NFSv4, Lustre with -o flock, GPFS, BeeGFS). Nodes of different kinds: leave --kernel plain.
#SBATCH --job-name=units
#SBATCH --cpus-per-task=8
#SBATCH --mem=24G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@60
#SBATCH --output=units-%A_%a.log
set -euo pipefail

input=""            # manifest, Kaldi data dir, folder ... as for speechssl units
output=""           # folder on the shared file system
model=default       # unit model: folder or built-in name
format=text
kernel=plain        # the same arithmetic on every node
device=cpu          # cuda: also give sbatch --gpus-per-task=1
workers=""          # processes in each task; default: its cores (cpu), 1 (cuda)
shard=slurm         # I/N: this part alone
# Slurm runs a copy of this script: submit it from the checkout's root.
utils="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [ ! -f "$utils/parse_options.sh" ]; then utils="${SLURM_SUBMIT_DIR:-.}/egs/utils"; fi

# shellcheck source=egs/utils/parse_options.sh
. "$utils/parse_options.sh"
# shellcheck source=egs/utils/path.sh
. "$utils/path.sh"
if [ -z "$input" ] || [ -z "$output" ]; then echo "$0: --input and --output are needed (see --help)" >&2; exit 2; fi
if [ -z "$workers" ]; then
  if [ "$device" = cuda ]; then workers=1; else workers="${SLURM_CPUS_PER_TASK:-1}"; fi
fi

# Exit code 1: done, but some utterances were skipped; they are in failures.tsv, and the task is no failure.
status=0
speechssl units "$input" --output "$output" --model "$model" --format "$format" --kernel "$kernel" \
  --device "$device" --workers "$workers" --shard "$shard" || status=$?
if [ "$status" -gt 1 ]; then exit "$status"; fi
