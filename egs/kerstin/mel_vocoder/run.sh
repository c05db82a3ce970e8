#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# German sentences (Kerstin, CC0, 1.76 h, one voice): a vocoder of mels, by mel distances and then against discriminators. What it makes
# of recordings' own mels (copy synthesis) beside Griffin-Lim. 40 sentences that were never trained on, as in ../resynth.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          Kerstin's corpus: metadata.csv and verified/*.opus, as seen from where you stand
#   --start default       vocoder to begin with, of units or of mels, a folder or the built-in one; "" for none
#   --conf FILE --gan-conf FILE   of recipes.mel_vocoder (default: recipes/conf/tiny_mel_vocoder.toml, tiny_mel_vocoder_gan.toml)
#   --updates 700 --gan-updates 1600   of both trainings;  --seed 0  --device cpu  or cuda
#   --recognizer DIR      a recogniser of German (../asr trains one): character error rates
#   --measures "--dnsmos" further options of speechssl score speech;  --workers 2  processes;  --data data --exp exp  folders
#   --tiny true           a miniature that says nothing;  --stage 0 --stop-stage 4
# Rows: the recording; of its mels by Griffin-Lim, by the vocoder of the first training, and of the second ("copy").
# The vocoder for --mel-vocoder of ../mel, ../content, ../enhancement is exp/gan/mel_vocoder.
set -euo pipefail
corpus='' start=default conf='' gan_conf='' updates=700 gan_updates=1600 seed=0 device=cpu recognizer='' measures="--dnsmos" workers=2 data=data
exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/heard.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus start conf gan_conf recognizer
cd "$(dirname "$0")"
. ../../utils/path.sh
held_out=(--valid 20 --test 40) small=() rows="real inverted spectral copy"
if "$tiny"; then
  updates=2 gan_updates=2 measures="" start='' data="$data/tiny" exp="$exp/tiny" held_out=(--valid 1 --test 2 --limit 6)
  small=(vocoder.generator.channels=32 data.batching.seconds=1.6 data.valid_batching.crop_s=1.0 training.workers=0)
fi
conf="${conf:-$root/recipes/conf/tiny_mel_vocoder.toml}" gan_conf="${gan_conf:-$root/recipes/conf/tiny_mel_vocoder_gan.toml}"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
told=(data.train="$data/train" data.valid="$data/valid" seed="$seed" device="$device" licence=CC0-1.0 "${small[@]}")

if at_stage 0 "$corpus -> Kaldi data dirs"; then
  once "$data" ../resynth/local/prepare_data.py -- ../resynth/local/prepare_data.py --corpus "$corpus" "${held_out[@]}" "$data"
fi
if at_stage 1 "speech -> mel vocoder"; then
  once "$exp/spectral" "$data" "$conf" -- python -m recipes.mel_vocoder "$conf" run="$exp/spectral" training.updates="$updates" \
    ${start:+start="$start"} "${told[@]}"
  once "$exp/gan" "$exp/spectral" "$gan_conf" -- python -m recipes.mel_vocoder "$gan_conf" run="$exp/gan" \
    start="$exp/spectral/mel_vocoder" training.updates="$gan_updates" "${told[@]}"
fi
if at_stage 2 "test speech -> mels -> speech"; then
  once "$exp/speech/inverted" "$exp/gan" local/inverted.py -- local/inverted.py "$data/test" "$exp/gan/mel_vocoder" "$exp/speech/inverted"
  for row in spectral copy; do
    from="$exp/${row/copy/gan}"
    once "$exp/speech/$row" "$data" "$from" -- speechssl resynth "$data/test" --mel-vocoder "$from/mel_vocoder" --quiet -o "$exp/speech/$row"
  done
fi
if at_stage 3 "speech -> scores"; then
  for row in $rows; do
    made="$exp/speech/$row" input=("$exp/speech/$row")
    if [ "$row" = real ]; then made="$data/test" input=(); fi
    # shellcheck disable=SC2086  # measures are options
    once "$exp/scores/$row.json" "$data" "${input[@]}" -- speechssl score speech "$data/test" "$made" $measures -o "$exp/scores/$row.json"
    heard "$row" "$made" "${input[@]}"
  done
fi
if at_stage 4 "scores -> table"; then ../../utils/speech_table.py "$exp/scores" "$rows"; fi
