#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Mboshi: how good units are, and how much they change with the recording: PNMI, purity, boundaries, ABX, unit edit distance.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the Mboshi folder (train/ dev/ utterances.tsv phones.tsv.gz), as seen from where you stand
#   --models "..."          of: mfcc (k-means of MFCCs), tdnn (of the built-in model's encoder), tdnn_product, tdnn_residual (two
#                           codebooks of the root of --num-units), all learned on Mboshi train; default (the built-in model)
#   --changes "..."         of: stretch (1.2 times as fast), pitch (3 semitones up), reverb (0.4 s), noise (white, 10 dB)
#   --num-units 100 --seed 0  of the codebooks learned here
#   --phone-shift -0.07     moves every label (see ../units/RESULTS.md);  --workers 2  processes
#   --data data --exp exp   folders for data dirs and results
#   --tiny true             a miniature that ends within two minutes
#   --stage 0 --stop-stage 4
set -euo pipefail
corpus='' models="mfcc tdnn tdnn_product tdnn_residual default" changes="stretch pitch reverb noise" num_units=100 seed=0 phone_shift=-0.07 workers=2
data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the Mboshi folder, not '$corpus'" >&2; exit 2; fi
absolute corpus
cd "$(dirname "$0")"
. ../../utils/path.sh
if "$tiny"; then num_units=8 workers=0 limit=40 data="$data/tiny" exp="$exp/tiny"; else limit=0 data="$data/full"; fi
root_units="$(awk -v v="$num_units" 'BEGIN { printf "%d", sqrt(v) + 0.5 }')"
declare -A how=([stretch]="--stretch 1.2" [pitch]="--pitch 3" [reverb]="--reverb 0.4" [noise]="--noise 10")
# learn MODEL ENCODER LAYER [OPTION...]: k-means on Mboshi train
learn() {
  once "$exp/$1/model" "$data" "$2" -- speechssl kmeans "$data/train" --encoder "$2" --layer "$3" --seed "$seed" \
    --max-frames 300000 --workers "$workers" --quiet -o "$exp/$1/model" "${@:4}"
}

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
  for model in $models; do
    mkdir -p "$exp/$model"
    case "$model" in
      mfcc)
        once "$exp/encoder_mfcc" ../units/conf/mfcc.toml -- ../../utils/make_encoder.py ../units/conf/mfcc.toml "$exp/encoder_mfcc"
        learn mfcc "$exp/encoder_mfcc" 0 --num-units "$num_units"
        ;;
      tdnn*)
        once "$exp/encoder_tdnn" "$root/speechssl/assets/default/card.json" -- \
          cp -rT "$root/speechssl/assets/default/encoder" "$exp/encoder_tdnn"
        case "$model" in
          tdnn) learn tdnn "$exp/encoder_tdnn" 5 --num-units "$num_units" ;;
          *) learn "$model" "$exp/encoder_tdnn" 5 --quantizer "${model#tdnn_}" --codebooks 2 --num-units "$root_units" ;;
        esac
        ;;
      default)
        once "$exp/default/model" "$root/speechssl/assets/default/card.json" -- \
          cp -rT "$root/speechssl/assets/default" "$exp/default/model"
        ;;
      *) echo "$0: --models knows mfcc, tdnn, tdnn_product, tdnn_residual and default, not $model" >&2; exit 2 ;;
    esac
  done
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
