#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Parallel speech to a translator from speech to units and its scores: the whole of the recipes s2ut_*, whose run.sh calls this.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          the unpacked Debian packages, as seen from where you stand; --download true fetches them into it
#   --units default       unit model of the targets: a folder, or a built-in one; --num-units 100: k-means of the target
#                         language's training speech on the built-in encoder instead
#   --systems "..."       each is scratch, or joined by + of: multitask (CTC heads for source and target text), ssl (the built-in
#                         encoder), bart (the decoder of a unit-BART), lna (of the decoder norms and attention alone are trained),
#                         stacked (units of all frames, five in a step);
#                         unit (from units to units in both directions, from a whole unit-BART; alone or unit+bt: back-translation);
#                         +aug with any: pairs of which one side is said by espeak-ng join training's, where the corpus has such
#   --monolingual "..."   LANGUAGE=SPEECH ...: more speech of either language, whose units unit-BART and back-translation learn along
#                         with those of training
#   --subset 0            pairs of training (0: all); --learned true: scores are those of the pairs it was trained on
#   --overfit N           can it learn at all: N pairs without dropout and smoothing, scored on themselves, in EXP/overfit-N
#   --conf FILE           of recipes.seq2seq (default: recipes/conf/tiny_s2ut.toml); --bart-conf FILE: of recipes.unit_bart
#                         (tiny_unit_bart); --unit-conf FILE: of recipes.unit_translation (tiny_unit_translation)
#   --updates 2000 --bart-updates 2000 --bt-updates 1000 (after the updates of unit) --device cpu --precision fp32 --seed 0 --beam 5
#   --length-penalties 1 --no-repeats "0 5"  of the search: no string of so many units twice (0: may), which ends the loops of models that
#                         have learned little; of several each system has what gives the best unit-BLEU on the validation part. Where systems
#                         are scored on what they were trained on, and in --tiny, the default is 0
#   --vocoder DIR         of these units: translations are spoken, too ("default": the built-in German voice of the built-in units)
#   --voice true          in its place, a vocoder of the target language's training speech, from the built-in one where units are its own,
#                         in --voice-updates 300 of 9.6 s; --device and --precision are those of all trainings
#   --recognizer DIR      and heard: ASR-BLEU, chrF; one of ours, a faster-whisper model, or whisper: the tiny.en of a package;
#                         train: one of the target's training speech, on the built-in encoder, in --recognizer-updates 800 of 80 s
#   --encoder default     of ssl, anything that recipes take as encoder.checkpoint; --adaptor-layers 2: of the model's own behind it
#   --workers 1           processes of extraction and of reading in training;  --data data --exp exp  folders for data dirs and results
#   --tiny true           a miniature that ends within minutes and says nothing;  --stage 0 --stop-stage 6
# Beside BLEU: how much a system draws from the source (speechssl score listening), which BLEU near its floors does not show.
# Floors are scored beside the systems: one target of training for everybody, the most frequent (where none comes twice, that
# with the fewest edits to others), and for each utterance a target of training drawn at random; their texts are those of training.
# With a recognizer, what no translation passes: the target's recordings (original), and their units spoken again (resynthesis).
# Both sides of a text lose case and punctuation; English figures become words. Where the target has no texts, what is heard in its
# recordings stands for them (original is 100 then).
# Set by the recipes: --recipe FOLDER --source LANGUAGE --target LANGUAGE --prepare SCRIPT --packages "..." --say SCRIPT (for aug)
# --by-pair true (folders SOURCE-TARGET in data and exp) --tasks "NAME=source NAME=target ..." (those that --conf has, and their texts)
set -euo pipefail
recipe='' source='' target='' prepare='' say='' packages='' corpus='' download=false units=default num_units=0 systems="scratch multitask ssl ssl+bart"
monolingual='' subset=0 learned=false overfit=0 conf='' bart_conf='' unit_conf='' updates=2000 bart_updates=2000 bt_updates=1000 device=cpu precision=fp32 seed=0 beam=5 length_penalties=1 no_repeats='' vocoder='' recognizer='' recognizer_updates=800 workers=1
voice=false voice_updates=300 encoder=default adaptor_layers=2 by_pair=false tasks=''
data=data exp=exp tiny=false stage=0 stop_stage=6
utils="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$utils/parse_options.sh"
. "$utils/stages.sh"
. "$utils/s2ut_systems.sh"
. "$utils/s2ut_voice.sh"
if "$download" && [ -n "$corpus" ]; then mkdir -p "$corpus"; fi
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
check_voice
hearing=false
if [ "$recognizer" = train ]; then hearing=true recognizer=''; fi
absolute corpus units conf bart_conf unit_conf vocoder recognizer encoder prepare say
more=()
for entry in $monolingual; do
  speech="${entry#*=}"
  absolute speech
  more+=("${entry%%=*}=$speech")
done
cd "$recipe"
. "$utils/path.sh"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
conf="${conf:-$root/recipes/conf/tiny_s2ut.toml}" bart_conf="${bart_conf:-$root/recipes/conf/tiny_unit_bart.toml}"
unit_conf="${unit_conf:-$root/recipes/conf/tiny_unit_translation.toml}" limit=0 small=() exact=()
if "$by_pair"; then data="$data/${source// /+}-$target" exp="$exp/${source// /+}-$target"; fi
if "$tiny"; then
  limit=4 updates=2 bart_updates=2 bt_updates=2 beam=2 workers=0 data="$data/tiny" exp="$exp/tiny"
  small=(settings.adaptor.dim=32 settings.adaptor.channels=32 settings.adaptor.ffn_dim=32 settings.decoder.dim=32 settings.decoder.ffn_dim=32
    training.accumulate=1)
fi
if [ "$overfit" != 0 ]; then
  subset="$overfit" learned=true exp="$exp/overfit-$overfit"
  for name in settings.dropout dropout; do exact+=("$name.residual=0.0" "$name.attention=0.0" "$name.activation=0.0" "$name.layer=0.0"); done
  exact+=(settings.smoothing=0.0)
fi
if [ "$num_units" != 0 ]; then units="$exp/unit_model"; fi
if [ -z "$no_repeats" ]; then if "$tiny" || "$learned"; then no_repeats=0; else no_repeats="0 5"; fi; fi
if "$voice"; then vocoder="$exp/voice/vocoder"; fi
if "$hearing"; then recognizer="$exp/recognizer/recognizer"; fi
train=train heard=test
if [ "$subset" != 0 ]; then train="first$subset"; fi
if "$learned"; then heard="$train"; fi
parts=("$train" valid)
if ! "$learned"; then parts+=(test); fi
check_systems

if at_stage 0 "$corpus -> Kaldi data dirs, pairs of $source and $target"; then
  if "$download"; then "$utils/debian_packages.sh" "$corpus" "$packages"; fi
  once "$data/pairs" "$prepare" -- "$prepare" --corpus "$corpus" --source "$source" --target "$target" --limit "$limit" "$data/pairs"
  if [ "$subset" != 0 ]; then
    for side in source target; do
      once "$data/pairs-$train/$side" "$data/pairs" -- speechssl data subset "$data/pairs/train/$side" "$data/pairs-$train/$side" --first "$subset"
    done
  fi
  if any_has aug; then
    once "$data/said-$train" "$data/pairs" "$say" -- "$say" --corpus "$corpus" --source "$source" --target "$target" --limit "$limit" \
      --pairs "$data/pairs" --train "$(dirname "$(folder "$train" source)")" "$data/said-$train"
  fi
fi
if at_stage 1 "target speech -> units"; then
  if [ "$num_units" != 0 ]; then
    once "$units" "$data/pairs" -- speechssl kmeans "$(folder train target)" --encoder "$root/speechssl/assets/default/encoder" --layer 5 \
      --num-units "$num_units" --workers "$workers" --quiet -o "$units"
  fi
  if any_has aug; then parts+=("$train+said"); fi
  for part in "${parts[@]}"; do
    made_of="$data/pairs"
    if [ "$part" = "$train+said" ]; then made_of="$data/said-$train"; fi
    once "$exp/units/$part" "$made_of" -- in_part speechssl units "$(folder "$part" target)" --model "$units" --workers "$workers" --quiet -o "$exp/units/$part"
    if any_has unit || { [ "$part" = "$train" ] && any_has bart; }; then
      once "$exp/units/$part-$source" "$made_of" -- in_part speechssl units "$(folder "$part" source)" --model "$units" --workers "$workers" --quiet \
        -o "$exp/units/$part-$source"
    fi
  done
fi
training=(training.precision="$precision" training.workers="$workers" device="$device" seed="$seed")
if { any_has bart || any_has unit; } && at_stage 2 "units of both languages -> unit-BART"; then
  monolingual_units
  once "$exp/unit_bart" "${known[@]}" "$bart_conf" -- python -m recipes.unit_bart "$bart_conf" run="$exp/unit_bart" \
    "data.train=$alone" "data.valid={$target=[\"$exp/units/valid\"]}" training.updates="$bart_updates" "${training[@]}" "${small[@]}"
fi
if "$voice" && at_stage 2 "target speech and units -> vocoder"; then train_voice; fi
if "$hearing" && at_stage 2 "target speech and texts -> recogniser"; then train_recognizer; fi
if at_stage 3 "source speech or units, target units -> translators"; then
  for system in $systems; do
    if has unit "$system"; then train_of_units "$system"; else train_of_speech "$system"; fi
  done
fi
if at_stage 4 "$heard speech -> units${vocoder:+ -> speech}"; then
  for system in $systems; do
    tune_search "$system"
    source_of "$system" "$heard"
    once "$exp/translated/$system-$heard" "$exp/train/$system" -- in_part speechssl translate "${input[@]}" --model "$exp/train/$system/model" \
      "${search[@]}" ${vocoder:+--to speech --vocoder "$vocoder"} --device "$device" -o "$exp/translated/$system-$heard"
    hear "$system" "$exp/translated/$system-$heard/speech" "$exp/translated/$system-$heard"
  done
  hear_references
  floor_texts
  "$utils/unit_floors.py" "$exp/units/$train" "$exp/units/$heard" --seed "$seed" "${texts[@]}" "$exp/translated"
fi
if at_stage 5 "units${recognizer:+, texts} -> scores"; then
  for system in $systems; do
    source_of "$system" "$heard"
    once "$exp/scores/$system-$heard.listening.json" "$exp/train/$system" -- speechssl score listening "${input[@]}" --targets "$exp/units/$heard" \
      --model "$exp/train/$system/model" --allow-missing --device "$device" -o "$exp/scores/$system-$heard.listening.json"
  done
  for system in $systems frequent random; do
    speechssl score bleu --units "$exp/translated/$system-$heard/units" "$exp/units/$heard" --allow-missing -o "$exp/scores/$system-$heard.json"
  done
  for system in $systems frequent random resynthesis original; do score_heard "$system"; done
fi
if at_stage 6 "scores -> table"; then
  "$utils/bleu_table.py" "$exp/scores" "$heard" "$systems frequent random${recognizer:+ resynthesis original}"
fi
