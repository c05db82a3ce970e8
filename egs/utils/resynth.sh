#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Sentences of one voice through units and back: the whole of the recipes resynth, whose run.sh calls this. A unit vocoder, and what is
# lost on the way.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          the corpus, as seen from where you stand
#   --units default       unit model: a folder, or a built-in one
#   --conf FILE           of recipes.vocoder (default: recipes/conf/tiny_unit_hifigan.toml)
#   --updates 6000  --seconds 19.2  of the training (updates of so much speech; default: the file's);  --device cpu  or cuda;  --precision fp32
#   --measures ""         further options of speechssl score speech, such as "--similarity --dnsmos"
#   --workers 2           processes;  --data data --exp exp  folders for data dirs and results
#   --tiny true           a miniature that ends within minutes and says nothing
#   --stage 0 --stop-stage 5
#   --recognizer DIR      character error rates: a recogniser of the language, or whisper (English)
# Rows: resynthesis with the recording's durations, with predicted ones, 1.25 times as fast; Griffin-Lim of the recording's
# mels (the floor of waveform making), and the recording itself. Sentences that were never trained on, drawn by their ids.
# Set by the recipes: --recipe FOLDER (with local/prepare_data.py) --licence TEXT (of the vocoder)
set -euo pipefail
recipe='' licence='' corpus='' units=default conf='' updates='' device=cpu precision=fp32 seconds='' measures='' recognizer='' workers=2 data=data
exp=exp tiny=false stage=0 stop_stage=5
utils="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$utils/parse_options.sh"
. "$utils/stages.sh"
. "$utils/heard.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus units conf recognizer
cd "$recipe"
. "$utils/path.sh"
held_out=() small=()
if "$tiny"; then
  updates=4 seconds=1.6 workers=0 data="$data/tiny" exp="$exp/tiny" held_out=(--valid 1 --test 2 --limit 6)
  small=(losses.discriminators.width=0.0625 vocoder.generator.channels=64 data.batching.crop_s=0.8 data.batching.min_s=0.8 data.valid_batching.crop_s=1.0 training.workers=0)
fi
conf="${conf:-$root/recipes/conf/tiny_unit_hifigan.toml}" rows="real griffin_lim kept predicted faster"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

if at_stage 0 "$corpus -> Kaldi data dirs"; then
  once "$data" local/prepare_data.py -- local/prepare_data.py --corpus "$corpus" "${held_out[@]}" "$data"
fi
if at_stage 1 "speech -> units"; then
  for part in train valid test; do
    once "$exp/units/$part" "$data" -- speechssl units "$data/$part" --model "$units" --workers "$workers" --quiet -o "$exp/units/$part"
  done
fi
if at_stage 2 "units, speech -> vocoder; units -> durations"; then
  once "$exp/train" "$data" "$exp/units/train" "$exp/units/valid" "$conf" -- python -m recipes.vocoder "$conf" run="$exp/train" \
    data.train="$data/train" data.labels="$exp/units/train" data.valid="$data/valid" data.valid_labels="$exp/units/valid" \
    ${updates:+training.updates="$updates"} ${seconds:+data.batching.seconds="$seconds"} training.precision="$precision" device="$device" \
    licence="$licence" "${small[@]}"
  once "$exp/vocoder" "$exp/train" -- python -m recipes.unit_durations vocoder="$exp/train/vocoder" units="$exp/units/train" \
    valid="$exp/units/valid" run="$exp/vocoder" "$("$tiny" && echo settings.updates=5 || echo settings.updates=1500)"
fi
if at_stage 3 "test units -> speech"; then
  for row in kept predicted faster; do
    case "$row" in kept) options=() ;; predicted) options=(--durations predicted) ;; faster) options=(--speed 1.25) ;; esac
    once "$exp/speech/$row" "$exp/vocoder" "$exp/units/test" -- speechssl resynth "$exp/units/test" --vocoder "$exp/vocoder" --quiet \
      "${options[@]}" -o "$exp/speech/$row"
  done
  once "$exp/speech/griffin_lim" "$data" "$utils/griffin_lim.py" -- "$utils/griffin_lim.py" "$data/test" "$exp/speech/griffin_lim"
fi
if at_stage 4 "speech -> scores"; then
  for row in $rows; do
    made="$exp/speech/$row" spoken=(--units "$exp/units/test")
    case "$row" in real) made="$data/test" spoken=() ;; griffin_lim) spoken=() ;; esac
    # shellcheck disable=SC2086  # measures are options
    once "$exp/scores/$row.json" "$data" ${spoken[@]:+"$made"} -- speechssl score speech "$data/test" "$made" "${spoken[@]}" $measures \
      -o "$exp/scores/$row.json"
    input=("$made") && [ -f "$made.done" ] || input=()
    heard "$row" "$made" "${input[@]}"
  done
fi
if at_stage 5 "scores -> table"; then "$utils/speech_table.py" "$exp/scores" "$rows"; fi
