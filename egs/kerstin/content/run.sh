#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# German sentences (Kerstin, CC0, 1.76 h, one voice): what a mel decoder has to be told. Discrete units of several numbers, soft
# units (arXiv:2111.02392) and the encoder's layer itself, one regression of the same shape for each,
# one vocoder behind all: Griffin-Lim, or --mel-vocoder.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          Kerstin's corpus: metadata.csv and verified/*.opus, as seen from where you stand
#   --contents "..."      numbers of units (k-means of the training speech on the built-in encoder), soft (the encoder trained on until
#                         it predicts 100 units of its own, and its projections), layer (what these units are made of)
#   --recognizer DIR      a recogniser of German (../asr trains one): character error rates
#   --mel-vocoder DIR     a vocoder of these mels (../mel_vocoder trains one) in place of Griffin-Lim
#   --measures ""         further options of speechssl score speech, such as "--dnsmos"
#   --updates 2000        of each decoder;  --seconds 64  of speech in an update;  --soft-updates 600  of the soft encoder, 64 s each
#   --device cpu          or cuda;  --precision fp32  --seed 0  --workers 2  processes;  --data data --exp exp  folders
#   --tiny true           a miniature that says nothing;  --stage 0 --stop-stage 5
# Rows: the recording, the vocoder of its own mels (copy, with --mel-vocoder), and these contents; 40 sentences that
# were never trained on, as in ../resynth. bit/s are those of the test's units.
set -euo pipefail
corpus='' contents="50 100 500 soft layer" recognizer='' mel_vocoder='' measures='' updates=2000 seconds=64 soft_updates=600
device=cpu precision=fp32 seed=0 workers=2 data=data exp=exp tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/heard.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus recognizer mel_vocoder
. "$(dirname "$0")/../../utils/mel_vocoder.sh"
cd "$(dirname "$0")"
. ../../utils/path.sh
. ../../utils/pretrain.sh
held_out=(--valid 20 --test 40) small=() soft_small=() hard=100
if "$tiny"; then
  updates=2 soft_updates=2 seconds=2 workers=0 contents="8 soft layer" hard=8 data="$data/tiny" exp="$exp/tiny" measures="$measures --no-f0"
  held_out=(--valid 1 --test 2 --limit 6)
  small=(settings.decoder.dim=16 settings.decoder.ffn_dim=16 settings.decoder.num_layers=1 training.workers=0 data.batching.crop_s=1.0)
  soft_small=(data.batching.seconds=10 training.log_every=1)
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
default="$root/speechssl/assets/default"
# learn_units NUMBER: k-means of it, and units of all parts
learn_units() {
  once "$exp/models/$1" "$data" "$default/card.json" -- speechssl kmeans "$data/train" --encoder "$default/encoder" --layer 5 \
    --num-units "$1" --seed "$seed" --max-frames 300000 --workers "$workers" --quiet -o "$exp/models/$1"
  for part in train valid test; do
    once "$exp/units/$1/$part" "$data" "$exp/models/$1" -- speechssl units "$data/$part" --model "$exp/models/$1" --workers "$workers" --quiet \
      -o "$exp/units/$1/$part"
  done
}
# of_content CONTENT: its unit model, and what recipes.mel is told
of_content() {
  case "$1" in
    soft) model="$exp/models/soft" told=(data.soft=true) input=("$exp/models/soft") ;;
    layer) model="$exp/models/$hard" told=() input=("$exp/models/$hard") ;;
    *) model="$exp/models/$1" told=(data.labels="$exp/units/$1/train" data.valid_labels="$exp/units/$1/valid") input=("$exp/units/$1/train" "$exp/units/$1/valid") ;;
  esac
}

if at_stage 0 "$corpus -> Kaldi data dirs"; then
  once "$data" ../resynth/local/prepare_data.py -- ../resynth/local/prepare_data.py --corpus "$corpus" "${held_out[@]}" "$data"
fi
if at_stage 1 "speech -> unit models, units, soft units"; then
  for content in $contents; do
    case "$content" in
      soft)
        learn_units "$hard"
        soft="$root/egs/mboshi/unit_quality/conf/tdnn_soft.toml"
        once "$exp/soft" "$data" "$soft" "$exp/units/$hard/train" -- pretrain 0 "$root/recipes/conf/soft_units.toml" "$soft" "run=\"$exp/soft\"" \
          "encoder={checkpoint=\"$default/encoder\"}" "data.train=\"$data/train\"" "data.labels=\"$exp/units/$hard/train\"" \
          "training.updates=$soft_updates" "training.precision=\"$precision\"" "training.workers=$workers" "seed=$seed" "device=\"$device\"" "${soft_small[@]}"
        once "$exp/models/soft" "$exp/soft" -- speechssl convert "$exp/soft" "$exp/models/soft" --to unit-model
        ;;
      layer) learn_units "$hard" ;;
      *) learn_units "$content" ;;
    esac
  done
fi
if at_stage 2 "contents, speech -> mel decoders"; then
  for content in $contents; do
    of_content "$content"
    once "$exp/train/$content" "$data" "${input[@]}" -- python -m recipes.mel "$root/recipes/conf/mel_regression.toml" run="$exp/train/$content" \
      unit_model="$model" data.train="$data/train" data.valid="$data/valid" "${told[@]}" device="$device" licence=CC0-1.0 seed="$seed" \
      training.updates="$updates" training.precision="$precision" training.workers="$workers" data.batching.seconds="$seconds.0" "${small[@]}"
  done
fi
if at_stage 3 "test speech -> contents -> speech, and the mels' scores"; then
  for content in $contents; do
    of_content "$content"
    once "$exp/scores/$content.mel.json" "$exp/train/$content" ../mel/local/mel_scores.py -- ../mel/local/mel_scores.py "$data/test" \
      "$exp/train/$content/mel_decoder" "$exp/scores/$content.mel.json" --units "$model"
    once "$exp/speech/$content" "$exp/train/$content" "$data" "${vocoder_card[@]}" -- speechssl resynth "$data/test" --units "$model" --quiet \
      --mel-decoder "$exp/train/$content/mel_decoder" "${behind[@]}" -o "$exp/speech/$content"
  done
  copy_synthesis "$data/test" "$exp/speech/copy"
fi
if at_stage 4 "speech -> scores"; then
  for row in real $copy $contents; do
    made="$exp/speech/$row" input=("$exp/speech/$row") units=()
    case "$row" in real) made="$data/test" input=() ;; soft | layer | copy) ;; *) units=(--units "$exp/units/$row/test") ;; esac
    # shellcheck disable=SC2086  # measures are options
    once "$exp/scores/$row.json" "$data" "${input[@]}" -- speechssl score speech "$data/test" "$made" "${units[@]}" $measures \
      -o "$exp/scores/$row.json"
    heard "$row" "$made" "${input[@]}"
  done
fi
if at_stage 5 "scores -> table"; then ../../utils/speech_table.py "$exp/scores" "real $copy $contents"; fi
