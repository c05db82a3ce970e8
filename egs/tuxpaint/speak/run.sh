#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Captions of two languages (Tux Paint's stamps) to units of their speech: a unit language model, text-to-unit models that begin
# with it or do not, and how near the units of held-out captions come to those that were spoken.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          the Debian package tuxpaint-stamps-default, unpacked, as seen from where you stand
#   --languages "es fr"   two, as their captions are in DIR;  --units default  unit model: a folder, or a built-in one
#   --systems "scratch lm"   lm: begins with the unit language model's decoder
#   --updates 2000 --lm-updates 2000 --device cpu --precision fp32 --seed 0 --beam 5
#   --no-repeat 0         no string of so many units twice (0: may), which ends the loops of models that have learned little
#   --vocoder DIR         of these units (default: the built-in one): captions are spoken, too
#   --workers 1           processes of extraction;  --data data --exp exp  folders for data dirs and results
#   --tiny true           a miniature that ends within minutes and says nothing;  --stage 0 --stop-stage 5
set -euo pipefail
corpus='' languages="es fr" units=default systems="scratch lm" updates=2000 lm_updates=2000 device=cpu precision=fp32 seed=0 beam=5 no_repeat=0
vocoder='' workers=1 data=data exp=exp tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus units vocoder
cd "$(dirname "$0")"
. ../../utils/path.sh
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
limit=0 small=() bounds=()
if "$tiny"; then
  limit=16 updates=2 lm_updates=2 beam=2 workers=0 data="$data/tiny" exp="$exp/tiny" bounds=(--max-tokens 10 --max-per-symbol 0)
  small=(settings.decoder.dim=32 settings.decoder.ffn_dim=32)
fi
read -r one other <<<"$languages"
texts() { echo "{$one=[\"$data/$1/source\"],$other=[\"$data/$1/target\"]}"; }
spoken() { echo "{$one=[\"$exp/units/$1-$one\"],$other=[\"$exp/units/$1-$other\"]}"; }
declare -A side=(["$one"]=source ["$other"]=target)
training=(training.precision="$precision" device="$device" seed="$seed" "${small[@]}")

if at_stage 0 "$corpus -> Kaldi data dirs of $one and $other"; then
  once "$data" ../local/prepare_pairs.py -- ../local/prepare_pairs.py --corpus "$corpus" --source "$one" --target "$other" --limit "$limit" "$data"
fi
if at_stage 1 "speech -> units"; then
  for part in train valid test; do for language in $one $other; do
    once "$exp/units/$part-$language" "$data" -- in_part speechssl units "$data/$part/${side[$language]}" --model "$units" --workers "$workers" --quiet \
      -o "$exp/units/$part-$language"
  done; done
fi
if [[ " $systems " == *" lm "* ]] && at_stage 2 "units of both -> unit language model"; then
  once "$exp/lm" "$exp/units/train-$one" "$exp/units/train-$other" -- python -m recipes.unit_lm "$root/recipes/conf/tiny_unit_lm.toml" run="$exp/lm" \
    "data.train=$(spoken train)" "data.valid=$(spoken valid)" training.updates="$lm_updates" "${training[@]}"
fi
if at_stage 3 "captions, units -> text-to-unit models"; then
  for system in $systems; do
    begin=() made_of=("$exp/units/train-$one" "$exp/units/train-$other")
    if [ "$system" = lm ]; then begin=("decoder={checkpoint=\"$exp/lm/decoder\"}") made_of+=("$exp/lm"); fi
    once "$exp/train/$system" "${made_of[@]}" -- python -m recipes.text_to_units "$root/recipes/conf/tiny_text_to_units.toml" "data.train=$(texts train)" \
      "data.units=$(spoken train)" "data.valid=$(texts valid)" "data.valid_units=$(spoken valid)" "${begin[@]}" run="$exp/train/$system" \
      training.updates="$updates" search.beam="$beam" "${training[@]}"
  done
fi
if at_stage 4 "captions of test -> units and speech -> scores"; then
  for language in $one $other; do
    for system in $systems; do
      once "$exp/spoken/$system-test-$language" "$exp/train/$system" -- in_part speechssl speak "$data/test/${side[$language]}" --model "$exp/train/$system/model" \
        --language "$language" --vocoder "${vocoder:-default}" --beam "$beam" --no-repeat "$no_repeat" --device "$device" "${bounds[@]}" \
        -o "$exp/spoken/$system-test-$language"
    done
    ../../utils/unit_floors.py "$exp/units/train-$language" "$exp/units/test-$language" --seed "$seed" "$exp/spoken"
    for system in $systems frequent random; do
      speechssl score bleu --units "$exp/spoken/$system-test-$language/units" "$exp/units/test-$language" --allow-missing \
        -o "$exp/scores/$system-test-$language.json"
    done
  done
fi
if at_stage 5 "scores -> tables"; then for language in $one $other; do ../../utils/bleu_table.py "$exp/scores" "test-$language" "$systems frequent random"; done; fi
