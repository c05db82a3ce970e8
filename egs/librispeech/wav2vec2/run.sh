#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# wav2vec 2.0 base on LibriSpeech, arXiv:2006.11477.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the LibriSpeech folder (train-clean-100/ dev-clean/ ...), as seen from where you stand
#   --download true         fetch the subsets that are missing there (60 GB)
#   --train "train-clean-100 train-clean-360 train-other-500"  --dev dev-clean     subsets
#   --gpus 8  --accumulate 8                          the paper's update: 64 GPUs x 87.5 s; --gpus 0: the CPU
#   --data data  --exp exp  --stage 0  --stop-stage 1
#   --tiny true             the same stages with a tiny model, on the CPU
set -euo pipefail
# shellcheck disable=SC2034  # train and dev are read as ${!part}
corpus='' download=false train="train-clean-100 train-clean-360 train-other-500" dev=dev-clean
gpus=8 accumulate=8 data=data exp=exp tiny=false stage=0 stop_stage=1
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
if "$tiny"; then gpus=0 accumulate=1 data="$data/tiny" exp="$exp/tiny" small=(conf/tiny.toml); fi
conf="$root/recipes/conf/wav2vec2.toml"

if at_stage 0 "corpus -> $data/train, $data/dev"; then
  for part in train dev; do
    read -ra subsets <<<"${!part}"
    librispeech "$data/$part" "${subsets[@]}"
  done
fi
if at_stage 1 "$data/train -> wav2vec 2.0"; then
  once "$exp/wav2vec2" "$data/train" "$data/dev" "$conf" "${small[@]}" -- \
    pretrain "$gpus" "$conf" "${small[@]}" "run=\"$exp/wav2vec2\"" "data.train=\"$data/train\"" \
    "data.valid=\"$data/dev\"" "training.accumulate=$accumulate"
fi
