#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Mboshi, from raw audio to discrete units and their scores: MFCCs, k-means, PNMI, purities, bitrate.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the Mboshi folder (train/ dev/ utterances.tsv phones.tsv.gz), as seen from where you stand
#   --num-units "100 500"   codebook sizes;  --seeds "0 1 2"  one codebook each per size
#   --conf conf/mfcc.toml   settings of the MFCCs
#   --phone-shift 0         moves every label by so many seconds (see RESULTS.md)
#   --workers 2             processes;  --limit 0  utterances per split (0: all)
#   --data data --exp exp   folders for data dirs and results
#   --tiny true             a miniature that ends within a minute
#   --stage 0 --stop-stage 4
set -euo pipefail
corpus='' num_units="100 500" seeds="0 1 2" conf=conf/mfcc.toml phone_shift=0 workers=2 limit=0
data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the Mboshi folder, not '$corpus'" >&2; exit 2; fi
absolute corpus conf
cd "$(dirname "$0")"
. ../../utils/path.sh
if "$tiny"; then
  num_units="8 16" seeds="0 1" limit=40 workers=0 data="$data/tiny" exp="$exp/tiny"
else
  data="$data/full"
fi
models="$(for k in $num_units; do for s in $seeds; do echo "k${k}_s$s"; done; done)"

if at_stage 0 "$corpus -> Kaldi data dirs"; then
  once "$data" "$corpus/utterances.tsv" local/prepare_data.py -- \
    local/prepare_data.py "$corpus" "$data" --limit "$limit"
fi
if at_stage 1 "$data/train -> features -> unit models"; then
  once "$exp/encoder" "$conf" conf/mfcc.toml -- ../../utils/make_encoder.py "$conf" "$exp/encoder"
  once "$exp/features" "$data" "$exp/encoder" -- speechssl features "$data/train" \
    --encoder "$exp/encoder" --layer 0 --workers "$workers" -o "$exp/features"
  for model in $models; do
    k="${model%_s*}" seed="${model#*_s}"
    once "$exp/$model/model" "$exp/features" -- speechssl kmeans --features "$exp/features" \
      --encoder "$exp/encoder" --layer 0 --num-units "${k#k}" --seed "$seed" -o "$exp/$model/model"
  done
fi
if at_stage 2 "$data/dev, unit models -> units"; then
  for model in $models; do
    once "$exp/$model/units" "$data" "$exp/$model/model" -- \
      speechssl units "$data/dev" --model "$exp/$model/model" --workers "$workers" -o "$exp/$model/units"
  done
fi
if at_stage 3 "units, phones -> scores"; then
  for model in $models; do
    once "$exp/scores/$model.json" "$exp/$model/units" "$data" -- speechssl score units "$exp/$model/units" \
      --phones "$data/dev/align/phones.tsv" --phone-shift="$phone_shift" --allow-missing -o "$exp/scores/$model.json"
  done
fi
if at_stage 4 "scores -> table"; then
  for model in $models; do echo "$exp/scores/$model.json"; done | xargs ../../utils/score_table.py
fi
