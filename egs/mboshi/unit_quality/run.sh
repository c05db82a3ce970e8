#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Mboshi: how good units are, and how much they change with the recording: PNMI, purity, boundaries, ABX, unit edit distance.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the Mboshi folder (train/ dev/ utterances.tsv phones.tsv.gz), as seen from where you stand
#   --models "..."          of: mfcc (k-means of MFCCs), tdnn (of the built-in model's encoder), tdnn_product, tdnn_residual (two
#                           codebooks of the root of --num-units), tdnn_fsq (a grid), tdnn_soft (the encoder trained on to predict
#                           tdnn's units), tdnn_invariant (a network that predicts them from changed speech), all learned on
#                           Mboshi train; default (the built-in model)
#   --changes "..."         of: stretch (1.2 times as fast), pitch (3 semitones up), reverb (0.4 s), noise (white, 10 dB)
#   --num-units 100 --levels 5,5,4 --seed 0  of what is learned here
#   --updates 300  of the trainings, 64 s of speech each;  --iterations 2  of tdnn_invariant
#   --phone-shift -0.07     moves every label (see ../units/RESULTS.md);  --workers 2  processes
#   --data data --exp exp   folders for data dirs and results
#   --tiny true             a miniature that ends within two minutes
#   --stage 0 --stop-stage 4
set -euo pipefail
corpus='' models="mfcc default tdnn tdnn_product tdnn_residual tdnn_fsq tdnn_soft tdnn_invariant"
changes="stretch pitch reverb noise" num_units=100 levels=5,5,4 updates=300 iterations=2 seed=0 phone_shift=-0.07
workers=2 data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the Mboshi folder, not '$corpus'" >&2; exit 2; fi
absolute corpus
cd "$(dirname "$0")"
. ../../utils/path.sh
export data exp num_units levels updates iterations seed workers tiny
limit=0
if "$tiny"; then num_units=8 levels=4,3 updates=4 workers=0 limit=40 data="$data/tiny" exp="$exp/tiny"; else data="$data/full"; fi
declare -A how=([stretch]="--stretch 1.2" [pitch]="--pitch 3" [reverb]="--reverb 0.4" [noise]="--noise 10")

if at_stage 0 "$corpus -> Kaldi data dirs, dev in other conditions"; then
  once "$data" "$corpus/utterances.tsv" ../units/local/prepare_data.py -- \
    ../units/local/prepare_data.py "$corpus" "$data" --limit "$limit"
  for change in $changes; do
    # shellcheck disable=SC2086  # several words
    once "$exp/dev_$change" "$data" -- speechssl data augment "$data/dev" "$exp/dev_$change" ${how[$change]} \
      --workers "$workers"
  done
fi
if at_stage 1 "$data/train -> unit models"; then
  for model in $models; do local/model.sh "$model"; done
fi
if at_stage 2 "dev in all conditions -> units"; then
  for model in $models; do
    once "$exp/$model/dev" "$data" "$exp/$model/model" -- speechssl units "$data/dev" --model "$exp/$model/model" \
      --workers "$workers" --quiet -o "$exp/$model/dev"
    for change in $changes; do
      once "$exp/$model/$change" "$exp/dev_$change" "$exp/$model/model" -- speechssl units "$exp/dev_$change" \
        --model "$exp/$model/model" --workers "$workers" --quiet -o "$exp/$model/$change"
    done
  done
fi
if at_stage 3 "units -> scores"; then
  phones=(--phones "$data/dev/align/phones.tsv" --phone-shift="$phone_shift")
  for model in $models; do
    own="$exp/$model"
    once "$own/units.json" "$own/dev" -- speechssl score units "$own/dev" "${phones[@]}" --allow-missing -o "$own/units.json"
    once "$own/boundaries.json" "$own/dev" -- speechssl score boundaries "$own/dev" "${phones[@]}" --allow-missing \
      -o "$own/boundaries.json"
    once "$own/abx.json" "$own/dev" -- speechssl score abx "$own/dev" "${phones[@]}" --speakers "$data/dev/utt2spk" \
      -o "$own/abx.json"
    for change in $changes; do
      once "$own/ued_$change.json" "$own/dev" "$own/$change" -- speechssl score edits "$own/dev" "$own/$change" \
        -o "$own/ued_$change.json"
    done
  done
fi
if at_stage 4 "scores -> table"; then local/table.py "$exp" "$models" "$changes"; fi
