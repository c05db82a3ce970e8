#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Spoken digits and their speakers (FSDD): a linear probe of all layers averaged over time, and nearest neighbours by edit distance of units.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the Free Spoken Digit Dataset (recordings/DIGIT_SPEAKER_INDEX.flac), as seen from where you stand
#   --encoders "..."        of: mfcc, untrained (the built-in encoder with fresh weights, others for every seed), builtin
#   --units "..."           of: mfcc, untrained, builtin (k-means of these on FSDD train), default (the built-in unit model)
#   --tasks "..."           of: digit, speaker (the official split, index 0 to 4 is the test: every speaker is in both parts), digit_si
#                           (speaker-independent: each speaker is tested on what the others teach)
#   --poolings "mean"       over time, of: mean (as SUPERB does), mean_std;  --each-layer true  probes of each layer alone, too
#   --seeds "0 1 2"         of k-means, of untrained weights, of the part of train on which the probe's penalty is chosen
#   --num-units 100 -k of neighbours: --neighbours 5;  --workers 2  processes
#   --data data --exp exp   folders for data dirs and results
#   --tiny true             a miniature that ends within two minutes
#   --stage 0 --stop-stage 4
set -euo pipefail
corpus='' encoders="mfcc untrained builtin" units="mfcc untrained builtin default" tasks="digit speaker digit_si" poolings=mean
each_layer=false seeds="0 1 2" num_units=100 neighbours=5 workers=2 data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the folder of FSDD, not '$corpus'" >&2; exit 2; fi
absolute corpus
cd "$(dirname "$0")"
. ../../utils/path.sh
. ../../utils/encoders.sh
limit=0
if "$tiny"; then seeds=0 num_units=20 workers=0 limit=3 data="$data/tiny" exp="$exp/tiny"; else data="$data/full"; fi
scores="$exp/scores"
declare -A labels=([digit]=utt2digit [speaker]=utt2spk [digit_si]=utt2digit)
utterances() {
  args=("$data/test" --train "$data/train" --labels "$data/all/${labels[$1]}")
  if [ "$1" = digit_si ]; then args=("$data/all" --folds "$data/all/utt2spk" --labels "$data/all/${labels[$1]}"); fi
}
units_of() {
  args=("$3" --train "$3" --labels "$data/test/${labels[$1]}" --train-labels "$data/train/${labels[$1]}" --allow-missing)
  if [ "$1" = digit_si ]; then args=("$3" --folds "$data/all/utt2spk" --labels "$data/all/${labels[$1]}"); fi
}

if at_stage 0 "$corpus -> Kaldi data dirs"; then
  once "$data" local/prepare_data.py -- local/prepare_data.py "$corpus" "$data" --limit "$limit"
fi
if at_stage 1 "encoders, and codebooks of $data/train -> units of all digits"; then units_of_all "$data/train" "$data/all"; fi
if at_stage 2 "all layers averaged over time -> probes"; then probes_of_all; fi
if at_stage 3 "units -> nearest neighbours"; then neighbours_of_all; fi
if at_stage 4 "scores -> table"; then ../../utils/class_table.py "$scores" "$(table_rows)" "$tasks" "$seeds"; fi
