#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# A small HuBERT over log-mel frames on free speech, two iterations, then a unit model: how far it is, see RESULTS.md.
# usage: run.sh --corpora DIR [--option value ...]
#   --corpora DIR           the folder with kerstin/ librispeech_subset/ speech_to_intent/ fsdd/, as seen from where you stand
#   --download true         fetch the prompts of Asterisk and festvox-ru (Debian packages, 230 MB; needs apt-get, dpkg, PyAV)
#   --prompts DIR           where they are or go, unpacked; without it they are left out
#   --units1 100 --units2 200  of the labels;  --layer 5  of iteration 1 for the second labels
#   --num-units 100 --unit-layer 5  of the unit model;  --seed 0
#   --updates 20000  --gpus 1 (0: the CPU)  --workers 8  --data data  --exp exp  --tiny true (all stages in miniature, on
#   the CPU)  --stage 0 --stop-stage 5
set -euo pipefail
corpora='' download=false prompts='' units1=100 units2=200 layer=5 num_units=100 unit_layer=5 seed=0 updates=20000
gpus=1 workers=8 data=data exp=exp tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/pretrain.sh"
if [ ! -d "$corpora" ]; then echo "$0: --corpora must name a folder, not '$corpora'" >&2; exit 2; fi
if "$download" && [ -n "$prompts" ]; then mkdir -p "$prompts"; fi
absolute corpora prompts
cd "$(dirname "$0")"
. ../../utils/path.sh
device=cuda limit=0 small=()
if "$tiny"; then
  units1=8 units2=12 layer=1 num_units=8 unit_layer=1 updates=4 gpus=0 workers=0 limit=12 data="$data/tiny" exp="$exp/tiny"
  small=(data.batching.seconds=20 data.batching.crop_s=5 training.log_every=2 encoder.num_layers=2)
fi
if [ "$gpus" = 0 ]; then device=cpu; fi
# make_labels N UNITS INPUT ENCODER LAYER: k-means on the training set, its units of all speech in exp/labelsN
make_labels() {
  once "$exp/kmeans$1" "$data" "$3" -- speechssl kmeans "$data/train" --encoder "$4" --layer "$5" --num-units "$2" \
    --seed "$seed" --max-frames 300000 --workers "$workers" --device "$6" --quiet -o "$exp/kmeans$1"
  once "$exp/labels$1" "$data" "$exp/kmeans$1" -- speechssl units "$data/train" "$data/valid" --model "$exp/kmeans$1" \
    --workers "$workers" --device "$6" --quiet -o "$exp/labels$1"
}
# iterate N: HuBERT afresh, on the labels in exp/labelsN
iterate() {
  once "$exp/iteration$1" "$exp/labels$1" conf/tiny.toml -- pretrain "$gpus" "$root/recipes/conf/hubert.toml" \
    conf/tiny.toml "run=\"$exp/iteration$1\"" "data.train=\"$data/train\"" "data.valid=\"$data/valid\"" \
    "data.labels=\"$exp/labels$1\"" "training.updates=$updates" "training.workers=$workers" "seed=$seed" "${small[@]}"
}

if at_stage 0 "$corpora -> $data/train, $data/valid"; then
  if "$download"; then local/download.sh "$prompts"; fi
  once "$data" local/prepare_data.py -- local/prepare_data.py --corpora "$corpora" ${prompts:+--prompts "$prompts"} \
    --limit "$limit" "$data"
fi
if at_stage 1 "MFCCs -> $units1 units"; then
  once "$exp/mfcc" conf/mfcc.toml -- ../../utils/make_encoder.py conf/mfcc.toml "$exp/mfcc"
  make_labels 1 "$units1" "$exp/mfcc" "$exp/mfcc" 0 cpu
fi
if at_stage 2 "units of MFCCs -> iteration 1"; then iterate 1; fi
if at_stage 3 "layer $layer of iteration 1 -> $units2 units"; then
  make_labels 2 "$units2" "$exp/iteration1" "$exp/iteration1/encoder" "$layer" "$device"
fi
if at_stage 4 "units of iteration 1 -> iteration 2"; then iterate 2; fi
if at_stage 5 "layer $unit_layer of iteration 2 -> $exp/model"; then
  once "$exp/model" "$exp/iteration2" -- speechssl kmeans "$data/train" --encoder "$exp/iteration2/encoder" \
    --layer "$unit_layer" --num-units "$num_units" --seed "$seed" --workers "$workers" --device "$device" --quiet -o "$exp/model"
fi
