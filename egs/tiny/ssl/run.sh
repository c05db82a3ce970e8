#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# The built-in unit model: a small TDNN learns from free speech in two iterations of HuBERT, on the CPU; then k-means.
# usage: run.sh --corpora DIR [--option value ...]
#   --corpora DIR           the folder with kerstin/ librispeech_subset/ speech_to_intent/ fsdd/, as seen from where you stand
#   --download true         fetch the prompts of Asterisk and festvox-ru (Debian packages, 230 MB; needs apt-get, dpkg, PyAV)
#   --prompts DIR           where they are or go, unpacked; without it they are left out
#   --mboshi DIR            the Mboshi folder, to score the model and one of MFCCs on its dev set (stage 6)
#   --units1 256 --units2 256  of the labels;  --layer 5  of iteration 1 for the second labels
#   --num-units 100 --unit-layer 5  of the unit model;  --seed 0
#   --updates1 300 --updates2 300  of the iterations, 128 s of speech each; more were worse (see RESULTS.md)
#   --precision fp32  of training; bf16 is faster on CPUs that have instructions for it
#   --gpus 0 (the CPU)  --workers 2  --data data  --exp exp  --tiny true (all stages in miniature)
#   --stage 0 --stop-stage 6
set -euo pipefail
corpora='' download=false prompts='' mboshi='' units1=256 units2=256 layer=5 num_units=100 unit_layer=5 seed=0
updates1=300 updates2=300 precision=fp32 gpus=0 workers=2 data=data exp=exp tiny=false stage=0 stop_stage=6
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/pretrain.sh"
if [ ! -d "$corpora" ]; then echo "$0: --corpora must name a folder, not '$corpora'" >&2; exit 2; fi
if "$download" && [ -n "$prompts" ]; then mkdir -p "$prompts"; fi
absolute corpora prompts mboshi
cd "$(dirname "$0")"
. ../../utils/path.sh
device=cuda limit=0 small=()
if "$tiny"; then
  units1=8 units2=12 layer=2 num_units=8 unit_layer=2 updates1=4 updates2=4 workers=0 limit=12
  data="$data/tiny" exp="$exp/tiny"
  small=(data.batching.seconds=20 training.log_every=2 'encoder.dilations=[1, 2]')
fi
if [ "$gpus" = 0 ]; then device=cpu; fi
# make_labels N UNITS INPUT ENCODER LAYER DEVICE: k-means on the training set, its units of all speech in exp/labelsN
make_labels() {
  once "$exp/kmeans$1" "$data" "$3" -- speechssl kmeans "$data/train" --encoder "$4" --layer "$5" --num-units "$2" \
    --seed "$seed" --max-frames 300000 --workers "$workers" --device "$6" --quiet -o "$exp/kmeans$1"
  once "$exp/labels$1" "$data" "$exp/kmeans$1" -- speechssl units "$data/train" "$data/valid" --model "$exp/kmeans$1" \
    --workers "$workers" --device "$6" --quiet -o "$exp/labels$1"
}
# iterate N UPDATES: from fresh weights, on the labels in exp/labelsN
iterate() {
  once "$exp/iteration$1" "$exp/labels$1" conf/tiny.toml -- pretrain "$gpus" "$root/recipes/conf/hubert.toml" \
    conf/tiny.toml "run=\"$exp/iteration$1\"" "data.train=\"$data/train\"" "data.valid=\"$data/valid\"" \
    "data.labels=\"$exp/labels$1\"" "training.updates=$2" "training.precision=\"$precision\"" "training.workers=$workers" \
    "seed=$seed" "${small[@]}"
}
# score NAME: the unit model exp/NAME on Mboshi dev, in exp/scores/NAME_*.json
score() {
  local dev="$data/mboshi/dev" scores="$exp/scores/$1"
  once "$exp/$1.units" "$data/mboshi" "$exp/$1" -- speechssl units "$dev" --model "$exp/$1" --workers "$workers" \
    --quiet -o "$exp/$1.units"
  for shift in 0 -0.07; do
    once "${scores}_shift$shift.json" "$exp/$1.units" -- speechssl score units "$exp/$1.units" --phones \
      "$dev/align/phones.tsv" --allow-missing --phone-shift="$shift" -o "${scores}_shift$shift.json"
  done
  once "${scores}_abx.json" "$exp/$1.units" -- speechssl score abx "$exp/$1.units" --phones "$dev/align/phones.tsv" \
    --speakers "$dev/utt2spk" --phone-shift=-0.07 -o "${scores}_abx.json"
}

if at_stage 0 "$corpora -> $data/train, $data/valid"; then
  if "$download"; then ../../utils/debian_packages.sh "$prompts" "$(echo asterisk-core-sounds-{en,fr,es,it,ru}-g722 festvox-ru)"; fi
  once "$data" local/prepare_data.py -- local/prepare_data.py --corpora "$corpora" ${prompts:+--prompts "$prompts"} \
    --limit "$limit" "$data"
fi
if at_stage 1 "MFCCs -> $units1 units"; then
  once "$exp/mfcc" conf/mfcc.toml -- ../../utils/make_encoder.py conf/mfcc.toml "$exp/mfcc"
  make_labels 1 "$units1" "$exp/mfcc" "$exp/mfcc" 0 cpu
fi
if at_stage 2 "units of MFCCs -> iteration 1"; then iterate 1 "$updates1"; fi
if at_stage 3 "layer $layer of iteration 1 -> $units2 units"; then
  make_labels 2 "$units2" "$exp/iteration1" "$exp/iteration1/encoder" "$layer" "$device"
fi
if at_stage 4 "units of iteration 1 -> iteration 2"; then iterate 2 "$updates2"; fi
if at_stage 5 "layer $unit_layer of iteration 2 -> $exp/model, what ships as speechssl/assets/default"; then
  mkdir -p "$exp"
  exp="$(cd "$exp" && pwd)"
  once "$exp/model" "$exp/iteration2" -- env -C "$data" speechssl kmeans train --encoder "$exp/iteration2/encoder" \
    --layer "$unit_layer" --num-units "$num_units" --seed "$seed" --restarts 3 --max-frames 500000 --workers "$workers" \
    --device "$device" --name "TDNN k-means $num_units" --licence CC-BY-SA-4.0 --quiet -o "$exp/model"
fi
if [ -n "$mboshi" ] && at_stage 6 "$exp/model and MFCCs on Mboshi dev -> table"; then
  once "$data/mboshi" "$mboshi/utterances.tsv" -- ../../mboshi/units/local/prepare_data.py "$mboshi" "$data/mboshi" \
    --limit "$limit"
  once "$exp/plain_mfcc" conf/plain_mfcc.toml -- ../../utils/make_encoder.py conf/plain_mfcc.toml "$exp/plain_mfcc"
  for name in plain_mfcc mfcc; do
    once "$exp/${name}_model" "$data" "$exp/$name" -- speechssl kmeans "$data/train" --encoder "$exp/$name" --layer 0 \
      --num-units "$num_units" --seed "$seed" --restarts 3 --max-frames 500000 --workers "$workers" --quiet \
      -o "$exp/${name}_model"
  done
  for name in plain_mfcc_model mfcc_model model; do score "$name"; done
  local/table.py "$exp/scores" plain_mfcc_model mfcc_model model
fi
