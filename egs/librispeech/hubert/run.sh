#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# HuBERT base on LibriSpeech, arXiv:2106.07447: MFCC units -> iteration 1 -> units of its layer 6 -> iteration 2.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the LibriSpeech folder (train-clean-100/ dev-clean/ ...), as seen from where you stand
#   --download true         fetch the subsets that are missing there (60 GB)
#   --train "train-clean-100 train-clean-360 train-other-500"  --dev dev-clean     subsets
#   --units1 100  --units2 500  --layer 6             of the labels of the two iterations
#   --gpus 8  --accumulate 4                          the paper's update: 32 GPUs x 87.5 s; --gpus 0: the CPU
#   --workers 8  --data data  --exp exp  --stage 0  --stop-stage 4
#   --tiny true             the same stages with a tiny model, on the CPU
set -euo pipefail
# shellcheck disable=SC2034  # train and dev are read as ${!part}
corpus='' download=false train="train-clean-100 train-clean-360 train-other-500" dev=dev-clean units1=100 units2=500
layer=6 gpus=8 accumulate=4 workers=8 data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/pretrain.sh"
. "$(dirname "$0")/../../utils/librispeech.sh"
if "$download" && [ -n "$corpus" ]; then mkdir -p "$corpus"; fi
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the LibriSpeech folder, not '$corpus'" >&2; exit 2; fi
absolute corpus
cd "$(dirname "$0")"
. ../../utils/path.sh
small=()
if "$tiny"; then
  units1=8 units2=12 layer=2 gpus=0 accumulate=1 workers=0 data="$data/tiny" exp="$exp/tiny" small=(conf/tiny.toml)
fi
if [ "$gpus" = 0 ]; then device=cpu; else device=cuda; fi
# make_labels N UNITS INPUT ENCODER LAYER: k-means on the training set, its units of both sets in exp/labelsN
make_labels() {
  once "$exp/kmeans$1" "$data/train" "$3" -- speechssl kmeans "$data/train" --encoder "$4" --layer "$5" \
    --num-units "$2" --workers "$workers" --device "$device" -o "$exp/kmeans$1"
  once "$exp/labels$1" "$data/train" "$data/dev" "$exp/kmeans$1" -- speechssl units "$data/train" "$data/dev" \
    --model "$exp/kmeans$1" --workers "$workers" --device "$device" -o "$exp/labels$1"
}
# iterate N CONF: HuBERT afresh, on the labels in exp/labelsN
iterate() {
  once "$exp/iteration$1" "$exp/labels$1" "$root/recipes/conf/$2.toml" "${small[@]}" -- \
    pretrain "$gpus" "$root/recipes/conf/$2.toml" "${small[@]}" "run=\"$exp/iteration$1\"" \
    "data.train=\"$data/train\"" "data.valid=\"$data/dev\"" "data.labels=\"$exp/labels$1\"" \
    "training.accumulate=$accumulate"
}

if at_stage 0 "corpus -> $data/train, $data/dev"; then
  for part in train dev; do
    read -ra subsets <<<"${!part}"
    librispeech "$data/$part" "${subsets[@]}"
  done
fi
if at_stage 1 "MFCCs -> $units1 units"; then
  once "$exp/mfcc" conf/mfcc.toml -- ../../utils/make_encoder.py conf/mfcc.toml "$exp/mfcc"
  make_labels 1 "$units1" "$exp/mfcc" "$exp/mfcc" 0
fi
if at_stage 2 "units of MFCCs -> HuBERT, iteration 1"; then iterate 1 hubert; fi
if at_stage 3 "layer $layer of iteration 1 -> $units2 units"; then
  make_labels 2 "$units2" "$exp/iteration1" "$exp/iteration1/encoder" "$layer"
fi
if at_stage 4 "units of iteration 1 -> HuBERT, iteration 2"; then iterate 2 hubert_iteration2; fi
