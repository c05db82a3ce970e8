# shellcheck shell=bash disable=SC2034,SC2154
# The systems of s2ut.sh, which sources this file: what each is made of and how it is trained.

# has PART SYSTEM: whether a system, parts joined by +, has this part; any_has PART: whether one of $systems has.
has() { case "+$2+" in *"+$1+"*) return 0 ;; *) return 1 ;; esac; }
any_has() { has "$1" "${systems// /+}"; }

# check_systems: exits 2 for parts that do not exist or do not go together.
check_systems() {
  local system part
  for system in $systems; do
    for part in ${system//+/ }; do
      case "$part" in
        scratch | multitask | ssl | bart | lna | stacked) if has unit "$system"; then echo "$0: $system: unit is joined with bt and aug only" >&2; exit 2; fi ;;
        unit | aug) ;;
        bt) if ! has unit "$system"; then echo "$0: $system: bt is joined with unit only" >&2; exit 2; fi ;;
        *) echo "$0: systems are made of scratch, multitask, ssl, bart, lna, stacked, unit, bt and aug, not of $part" >&2; exit 2 ;;
      esac
    done
  done
  case "$source" in *" "*) if any_has bart || any_has unit; then echo "$0: bart and unit know one source language, not $source" >&2; exit 2; fi ;; esac
  if any_has aug && [ -z "$say" ]; then echo "$0: aug: this corpus has no sentences that one language only has a recording of" >&2; exit 2; fi
}

# folder PART SIDE: the data dir of one side of a part.
folder() {
  case "$1" in
    "$train+said") echo "$data/said-$train/$2" ;;
    "$train") if [ "$subset" != 0 ]; then echo "$data/pairs-$train/$2"; else echo "$data/pairs/$1/$2"; fi ;;
    *) echo "$data/pairs/$1/$2" ;;
  esac
}

# monolingual_units: units of training and of --monolingual as the TOML table $alone; the folders are $known.
monolingual_units() {
  local entry language made of_source="\"$exp/units/$train-$source\"" of_target="\"$exp/units/$train\""
  known=("$exp/units/$train-$source" "$exp/units/$train")
  for entry in "${more[@]}"; do
    language="${entry%%=*}" made="$exp/units/more${#known[@]}-${entry%%=*}"
    once "$made" -- speechssl units "${entry#*=}" --model "$units" --workers "$workers" --quiet -o "$made"
    case "$language" in
      "$source") of_source+=", \"$made\"" ;;
      "$target") of_target+=", \"$made\"" ;;
      *) echo "$0: --monolingual $entry: the languages here are $source and $target" >&2; exit 2 ;;
    esac
    known+=("$made")
  done
  alone="{$source=[$of_source],$target=[$of_target]}"
}

# source_of SYSTEM PART: what it translates of a part, as $input.
source_of() {
  input=("$(folder "$2" source)")
  if has unit "$1"; then input=("$exp/units/$2-$source" --target-language "$target"); fi
}

# tune_search SYSTEM: $search, options of the one of $length_penalties and the one of $no_repeats whose translations of the validation
# part have the best unit-BLEU; nothing is translated where there is one of each.
tune_search() {
  local system="$1" tried="$exp/tuned/$1" penalty repeat found=() best
  search=(--beam "$beam" --length-penalty "$length_penalties" --no-repeat "$no_repeats")
  if [[ "$length_penalties$no_repeats" != *" "* ]]; then return; fi
  source_of "$system" valid
  for penalty in $length_penalties; do
    for repeat in $no_repeats; do
      best="$tried-$penalty-$repeat"
      once "$best" "$exp/train/$system" -- in_part speechssl translate "${input[@]}" --model "$exp/train/$system/model" --beam "$beam" \
        --length-penalty "$penalty" --no-repeat "$repeat" --device "$device" -o "$best"
      speechssl score bleu --units "$best/units" "$exp/units/valid" --allow-missing -o "$best.json"
      found+=("$penalty-$repeat=$best.json")
    done
  done
  best="$("$utils/best_bleu.py" "${found[@]}")"
  search=(--beam "$beam" --length-penalty "${best%-*}" --no-repeat "${best#*-}")
  echo "  $system: ${search[*]}"
}

# learned_from SYSTEM: the part that a system is trained on.
learned_from() { if has aug "$1"; then echo "$train+said"; else echo "$train"; fi; }

# train_of_speech SYSTEM: source speech to target units.
train_of_speech() {
  local system="$1" options=() inputs=("$data/pairs" "$conf") own part
  own="$(learned_from "$system")"
  for part in $tasks; do
    case "${part#*=}" in
      source) options+=("data.tasks.${part%=*}=source") ;;
      *) options+=("data.tasks.${part%=*}=$(folder "$own" source)/translation" "data.valid_tasks.${part%=*}=$(folder valid source)/translation") ;;
    esac
  done
  for part in ${system//+/ }; do
    case "$part" in
      ssl) options+=("encoder={checkpoint=\"$encoder\"}" "settings.adaptor.num_layers=$adaptor_layers") ;;
      multitask)
        options+=(data.tasks.source_text=source "data.tasks.target_text=$(folder "$own" source)/translation")
        options+=('settings.tasks=[{name="source_text",kind="ctc",layer=2,weight=0.3},{name="target_text",kind="ctc",layer=0,weight=0.3}]')
        options+=("data.valid_tasks.target_text=$(folder valid source)/translation")
        ;;
      bart) options+=("decoder={checkpoint=\"$exp/unit_bart/decoder\"}") inputs+=("$exp/unit_bart") ;;
      lna) options+=(settings.trained=lna_d) ;;
      stacked) options+=(data.reduced=false settings.decoder.stack=5) ;;
    esac
  done
  once "$exp/train/$system" "${inputs[@]}" "$exp/units/$own" -- python -m recipes.seq2seq "$conf" run="$exp/train/$system" \
    data.train="$(folder "$own" source)" data.targets="$exp/units/$own" data.valid="$(folder valid source)" \
    data.valid_targets="$exp/units/valid" training.updates="$updates" "${training[@]}" "${exact[@]}" "${small[@]}" "${options[@]}"
}

# train_of_units SYSTEM: units to units, both directions; unit+bt goes on from unit with back-translation.
train_of_units() {
  local system="$1" own pairs valid part begun="$exp/unit_bart" options=() count="$updates"
  own="$(learned_from "$system")"
  pairs="{$source=[\"$exp/units/$own-$source\"],$target=[\"$exp/units/$own\"]}"
  valid="{$source=[\"$exp/units/valid-$source\"],$target=[\"$exp/units/valid\"]}"
  if [ "$overfit" != 0 ]; then
    for part in residual attention activation layer; do options+=("settings.dropout.$part=0.0"); done
    options+=(settings.smoothing=0.0)
  fi
  if has bt "$system"; then
    begun="$exp/train/$(without_bt "$system")" count="$bt_updates"
    train_of_units "$(without_bt "$system")"
    monolingual_units
    options+=("data.monolingual=$alone")
  fi
  once "$exp/train/$system" "$begun" "$exp/units/$own-$source" "$exp/units/$own" "$unit_conf" -- python -m recipes.unit_translation "$unit_conf" \
    run="$exp/train/$system" start="$begun/model" "data.train=$pairs" "data.valid=$valid" training.updates="$count" "${training[@]}" "${small[@]}" "${options[@]}"
}

# without_bt SYSTEM: unit+bt+aug -> unit+aug.
without_bt() {
  local kept="+$1+"
  kept="${kept//+bt+/+}"
  kept="${kept#+}"
  echo "${kept%+}"
}
