# shellcheck shell=bash disable=SC2154
# The voice of s2ut.sh, which sources this file, and what a recogniser hears of it, which may be trained, too.

# check_voice: exits 2 for options of speech that do not go together.
check_voice() {
  if [ -n "$vocoder" ] && "$voice"; then echo "$0: --voice true makes a vocoder, and --vocoder $vocoder is one: give one of them" >&2; exit 2; fi
  if [ -n "$recognizer" ] && [ -z "$vocoder" ] && ! "$voice"; then
    echo "$0: --recognizer hears what --vocoder says: give both, or --voice true" >&2
    exit 2
  fi
}

# train_voice: $exp/voice/vocoder of the target's training speech, of the built-in vocoder's shape and trained as that in its first part
# (egs/kerstin/resynth/conf/spectral.toml: losses of spectra alone), with durations of its units. It goes on from the built-in vocoder,
# a German voice, where the units are the built-in ones.
train_voice() {
  local speech conf="$root/recipes/conf/tiny_unit_hifigan.toml" options=() durations=600
  speech="$(folder "$train" target)"
  options=('vocoder.generator={kind="spectral",channels=224,num_blocks=6,hop=320,window=1280}' losses.adversarial=0.0
    losses.feature_matching=0.0 data.batching.seconds=9.6)
  if [ "$units" = default ]; then options+=(start="$root/speechssl/assets/vocoder"); fi
  if "$tiny"; then voice_updates=2 durations=2 options+=(data.batching.seconds=1.6 data.valid_batching.crop_s=1.0); fi
  once "$exp/voice/train" "$data/pairs" "$exp/units/$train" "$exp/units/valid" "$conf" -- python -m recipes.vocoder "$conf" \
    run="$exp/voice/train" data.train="$speech" data.labels="$exp/units/$train" data.valid="$(folder valid target)" \
    data.valid_labels="$exp/units/valid" training.updates="$voice_updates" "${training[@]}" "${options[@]}"
  once "$vocoder" "$exp/voice/train" "$exp/units/$train" -- python -m recipes.unit_durations vocoder="$exp/voice/train/vocoder" \
    units="$exp/units/$train" valid="$exp/units/valid" run="$vocoder" settings.updates="$durations"
}

# train_recognizer: $recognizer in $exp/recognizer, of the target's training recordings and their plain texts, from the built-in encoder.
train_recognizer() {
  local conf="$root/recipes/conf/tiny_ctc.toml" options=()
  if "$tiny"; then recognizer_updates=2 options=(settings.freeze_updates=1 training.valid_every=1); fi
  once "$data/plain" "$data/pairs" "$utils/plain_parts.py" -- "$utils/plain_parts.py" "$data/pairs" "$data/plain" target
  once "$exp/recognizer" "$data/plain" "$conf" -- python -m recipes.ctc "$conf" run="$exp/recognizer" data.train="$data/plain/train" \
    data.valid="$data/plain/valid" training.updates="$recognizer_updates" "${training[@]}" "${options[@]}"
}

# hear ROW SPEECH INPUT...: $exp/heard/ROW-$heard, what the recogniser writes of SPEECH, made from the INPUTs; nothing without one.
hear() {
  local row="$1-$heard" speech="$2" card=("$recognizer/card.json")
  shift 2
  if [ -z "$recognizer" ]; then return; fi
  if [ ! -f "${card[0]}" ]; then card=(); fi
  if [ ! -s "$speech/wav.scp" ]; then # nothing was said
    mkdir -p "$exp/heard/$row"
    : >"$exp/heard/$row/text"
    return
  fi
  once "$exp/heard/$row" "$@" "${card[@]}" -- speechssl transcribe "$speech" --model "$recognizer" --workers "$workers" --quiet -o "$exp/heard/$row"
}

# hear_references: the target's recordings, and their units spoken again, with durations of the vocoder's own as translations have them.
hear_references() {
  local spoken="$exp/translated/resynthesis-$heard"
  if [ -z "$recognizer" ]; then return; fi
  hear original "$(folder "$heard" target)" "$data/pairs"
  once "$spoken" "$exp/units/$heard" -- speechssl resynth "$exp/units/$heard" --vocoder "$vocoder" --durations predicted --quiet -o "$spoken"
  hear resynthesis "$spoken" "$spoken"
}

# floor_texts: the option $texts of unit_floors.py, where texts of the targets are scored and known.
floor_texts() {
  texts=()
  # shellcheck disable=SC2034
  if [ -n "$recognizer" ] && [ -f "$(folder "$train" target)/text" ]; then texts=(--texts "$(folder "$train" target)/text"); fi
}

# score_heard ROW: its text against that of the target; nothing where it has none.
score_heard() {
  local row="$1-$heard" text right rules=(--case lower --punctuation all)
  if [ -z "$recognizer" ]; then return; fi
  text="$exp/heard/$row/text" right="$(folder "$heard" target)/text"
  if [ ! -f "$text" ]; then text="$exp/translated/$row/text"; fi
  if [ ! -f "$text" ]; then return; fi
  if [ ! -f "$right" ]; then right="$exp/heard/original-$heard/text"; fi
  if [ "$target" = en ]; then rules+=(--numbers english); fi
  speechssl score bleu "$text" "$right" "${rules[@]}" --allow-missing -o "$exp/scores/$row.asr.json"
}
