#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# LibriSpeech, from raw audio to discrete units and their scores: a released HuBERT with its own k-means, or a new one.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the LibriSpeech folder (train-clean-100/ dev-clean/ ...), as seen from where you stand
#   --download true         fetch the subsets that are missing there (dev-clean 0.3 GB, train-clean-100 6 GB)
#   --train train-clean-100  --dev dev-clean          the subsets to train on and to score
#   --encoder facebook/hubert-base-ls960  --layer 6   what gives the frames; fetched on first use
#   --kmeans FILE           the encoder's released k-means (.bin .pt .npy ...); without it one is trained on --train
#   --num-units "100 500"   codebook sizes;  --seeds 0  one codebook each per size; every one encodes --train once
#   --alignments PATH       phones of --dev (TextGrids, jsonl, ctm, tsv); without: only what needs none is scored
#   --workers 2  --device cpu  --data data  --exp exp  --stage 0  --stop-stage 4
set -euo pipefail
corpus='' download=false train=train-clean-100 dev=dev-clean encoder=facebook/hubert-base-ls960 layer=6 kmeans=''
num_units="100 500" seeds=0 alignments='' workers=2 device=cpu data=data exp=exp stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if "$download" && [ -n "$corpus" ]; then mkdir -p "$corpus"; fi
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the LibriSpeech folder, not '$corpus'" >&2; exit 2; fi
absolute corpus encoder kmeans alignments
cd "$(dirname "$0")"
. ../../utils/path.sh
models=released subsets="$dev"
if [ -z "$kmeans" ]; then
  models="$(for k in $num_units; do for s in $seeds; do echo "k${k}_s$s"; done; done)" subsets="$train $dev"
fi

if at_stage 0 "corpus -> Kaldi data dirs"; then
  for subset in $subsets; do
    if "$download"; then local/download.py "$corpus" "$subset"; fi
    once "$data/$subset" local/prepare_data.py -- \
      local/prepare_data.py "$corpus/$subset" "$data/$subset" ${alignments:+--alignments "$alignments"}
  done
fi
if at_stage 1 "$data/$train, or a released k-means -> unit models"; then
  for model in $models; do
    if [ "$model" = released ]; then
      from=("$kmeans" -- speechssl kmeans --from-file "$kmeans")
    else
      k="${model%_s*}" seed="${model#*_s}"
      from=("$data/$train" -- speechssl kmeans "$data/$train" --num-units "${k#k}" --seed "$seed" --workers "$workers")
    fi
    once "$exp/$model/model" "${from[@]}" --encoder "$encoder" --layer "$layer" --device "$device" -o "$exp/$model/model"
  done
fi
if at_stage 2 "$data/$dev, unit models -> units"; then
  for model in $models; do
    once "$exp/$model/units" "$data/$dev" "$exp/$model/model" -- speechssl units "$data/$dev" \
      --model "$exp/$model/model" --workers "$workers" --device "$device" -o "$exp/$model/units"
  done
fi
if at_stage 3 "units, phones -> scores"; then
  for model in $models; do
    once "$exp/scores/$model.json" "$exp/$model/units" "$data/$dev" -- speechssl score units "$exp/$model/units" \
      ${alignments:+--phones "$data/$dev/align/phones.tsv" --allow-missing} -o "$exp/scores/$model.json"
  done
fi
if at_stage 4 "scores -> table"; then
  for model in $models; do echo "$exp/scores/$model.json"; done | xargs ../../utils/score_table.py
fi
