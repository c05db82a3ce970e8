#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Two Italian voices (Asterisk's prompts by Carlo and Paola, CC BY(-SA) 3.0) to the units of one of them: a unit normaliser, and how
# many edits lie between the units of the two who say the same, before and after.
# usage: run.sh --prompts DIR [--option value ...]
#   --prompts DIR         unpacked Debian packages, as seen from where you stand;  --download true  fetch them into it (30 MB; needs apt-get, dpkg)
#   --units default       unit model of the reference: a folder, or a built-in one;  --reference carlo  or paola
#   --voices "carlo paola"  who is learned from; their units are the reference's
#   --systems "raw normalizer"  and augmentation: augmentation-invariant units, learned from both voices' units and no pairs
#   --conf FILE           of recipes.unit_normalizer (default: recipes/conf/tiny_unit_normalizer.toml);  --encoder default --layer 5  of augmentation
#   --updates 300 --aug-updates 300  of the trainings;  --seconds 40  of speech in an update;  --device cpu --precision fp32 --seed 0
#   --shortest 0.5        seconds of a prompt;  --test 60  prompts;  --workers 2  processes;  --data data --exp exp  folders
#   --tiny true           a miniature that says nothing;  --stage 0 --stop-stage 5
set -euo pipefail
prompts='' download=false units=default reference=carlo voices="carlo paola" systems="raw normalizer" conf='' encoder=default layer=5
updates=300 aug_updates=300 seconds=40 device=cpu precision=fp32 seed=0 shortest=0.5 test=60 workers=2 data=data exp=exp tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if "$download" && [ -n "$prompts" ]; then mkdir -p "$prompts"; fi
if [ ! -d "$prompts" ]; then echo "$0: --prompts must name a folder, not '$prompts'" >&2; exit 2; fi
case "$reference" in
  carlo) other=paola ;;
  paola) other=carlo ;;
  *) echo "$0: --reference must be carlo or paola, not '$reference'" >&2; exit 2 ;;
esac
absolute prompts units conf encoder
cd "$(dirname "$0")"
. ../../utils/path.sh
conf="${conf:-$root/recipes/conf/tiny_unit_normalizer.toml}" options=(--test "$test") small=()
if "$tiny"; then
  updates=2 aug_updates=2 seconds=8 workers=0 data="$data/tiny" exp="$exp/tiny" options=(--test 2 --valid 1 --limit 4)
  small=(data.batching.crop_s=8.0 settings.freeze_updates=0)
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
training=(device="$device" training.precision="$precision" training.workers="$workers" seed="$seed" "data.batching.seconds=$seconds.0")

if at_stage 0 "$prompts -> Kaldi data dirs"; then
  if "$download"; then ../../utils/debian_packages.sh "$prompts" "asterisk-core-sounds-it-g722 asterisk-prompt-it-menardi-wav"; fi
  once "$data" ../vc_it/local/prepare_data.py -- ../vc_it/local/prepare_data.py --prompts "$prompts" --shortest "$shortest" "${options[@]}" "$data"
fi
if at_stage 1 "speech -> units of either voice; whose units a recording learns"; then
  for part in train valid test/carlo test/paola; do
    once "$exp/raw/$part" "$data" -- speechssl units "$data/$part" --model "$units" --workers "$workers" --quiet -o "$exp/raw/$part"
  done
  for part in train valid; do
    once "$exp/pairs/$part" "$data" -- local/pairs.sh "$data/$part" "$reference" "$voices" "$exp/pairs/$part"
  done
fi
if at_stage 2 "speech of ${voices// / and }, units of $reference -> models"; then
  for system in $systems; do
    case "$system" in
      raw) ;;
      normalizer)
        once "$exp/train/normalizer" "$exp/pairs/train" "$exp/pairs/valid" "$exp/raw/train" "$exp/raw/valid" "$conf" -- \
          python -m recipes.unit_normalizer "$conf" run="$exp/train/normalizer" data.train="$exp/pairs/train" data.units="$exp/raw/train" \
          data.valid="$exp/pairs/valid" data.valid_units="$exp/raw/valid" data.contents=utt2content training.updates="$updates" "${training[@]}" "${small[@]}"
        ;;
      augmentation)
        once "$exp/train/augmentation" "$data" "$exp/raw/train" -- python -m recipes.pretrain "$root/recipes/conf/augmentation_invariant.toml" \
          run="$exp/train/augmentation" "encoder={checkpoint=\"$encoder\"}" settings.layer="$layer" data.train="$data/train" \
          data.labels="$exp/raw/train" training.updates="$aug_updates" "${training[@]}" "data.batching.crop_s=$(if "$tiny"; then echo 8; else echo 15; fi).0"
        once "$exp/train/augmentation-units" "$exp/train/augmentation" -- speechssl convert "$exp/train/augmentation" "$exp/train/augmentation-units" --to unit-model
        ;;
      *) echo "$0: --systems knows raw, normalizer and augmentation, not '$system'" >&2; exit 2 ;;
    esac
  done
fi
declare -A model=([normalizer]="$exp/train/normalizer/normalizer" [augmentation]="$exp/train/augmentation-units")
if at_stage 3 "test speech -> units"; then
  for system in $systems; do
    if [ "$system" = raw ]; then continue; fi
    input="$exp/train/normalizer"
    if [ "$system" = augmentation ]; then input="${model[augmentation]}"; fi
    for voice in carlo paola; do
      once "$exp/$system/test/$voice" "$data" "$input" -- speechssl units "$data/test/$voice" --model "${model[$system]}" --workers "$workers" --quiet \
        -o "$exp/$system/test/$voice"
    done
  done
fi
if at_stage 4 "units -> scores"; then
  mkdir -p "$exp/scores"
  awk '{ id[NR] = $1; $1 = ""; said[NR] = $0 } END { for (i = 1; i <= NR; i++) print id[i] said[i % NR + 1] }' \
    "$exp/raw/test/$reference/units" >"$exp/scores/others"
  edits() { speechssl score edits "$2" "$3" --allow-missing "${@:4}" -o "$exp/scores/$1.json" >/dev/null; }
  edits chance "$exp/raw/test/$reference/units" "$exp/scores/others" --num-units 1000000
  for system in $systems; do
    edits "$system.between" "$exp/$system/test/$reference" "$exp/$system/test/$other"
    if [ "$system" = normalizer ]; then
      edits "$system.other" "$exp/raw/test/$reference" "$exp/$system/test/$other"
      edits "$system.reference" "$exp/raw/test/$reference" "$exp/$system/test/$reference"
    fi
  done
fi
if at_stage 5 "scores -> table"; then local/table.py "$exp/scores" "$reference" "$other" "$systems"; fi
