# shellcheck shell=bash
# Recognisers of characters: texts and language models of any; then, for one corpus, on speechssl's own encoder, what its run.sh does
# behind the data dirs. Needs stages.sh and path.sh. Options for the first: device, workers, order, beam, lm_weights, bonuses; for
# the others besides: parts (folder of the data dirs train, valid and test), exp, seeds, updates, precision, small (further options
# of the training, an array).
# shellcheck disable=SC2154

# transcribe OUT ARGUMENT...: texts in OUT; it is no failure that some recordings could not be used
transcribe() {
  local out="$1" code=0
  shift
  speechssl transcribe "$@" -o "$out" --device "$device" --workers "$workers" --quiet || code=$?
  [ "$code" -le 1 ]
}

# decode OUT GREEDY ARGUMENT...: as transcribe, of what is in GREEDY already: its log probabilities are copied, so that no encoder
# runs a second time
decode() {
  local out="$1" greedy="$2"
  shift 2
  rm -rf -- "$out" && mkdir -p "$out" || return
  if [ -d "$greedy/emissions" ]; then cp -r "$greedy/emissions" "$out" || return; fi
  transcribe "$out" "$@" # of units: they are computed anew, and overwritten if need be
}

# character_lm OUT MADE_OF TEXT: an n-gram of the characters of a Kaldi text
character_lm() {
  once "$1" "$2" -- speechssl lm train "$3" --ids --unit char --order "$order" -o "$1"
}

# tune_decoder OUT TRANSCRIBED TEXT MODEL LM: weight and bonus with the fewest wrong characters, or greedy decoding
tune_decoder() {
  # shellcheck disable=SC2086  # lists, split on purpose
  once "$1" "$2" "$5" -- speechssl tune "$2" "$3" --by characters --model "$4" --lm "$5" --beam "$beam" \
    --lm-weights $lm_weights --bonuses $bonuses -o "$1"
}

# train_all: exp/train/sSEED, a recogniser of train for every seed; the best by valid
train_all() {
  local seed conf="$root/recipes/conf/tiny_ctc.toml"
  for seed in $seeds; do
    once "$exp/train/s$seed" "$parts" "$conf" -- python -m recipes.ctc "$conf" "run=\"$exp/train/s$seed\"" "data.train=\"$parts/train\"" \
      "data.valid=\"$parts/valid\"" "seed=$seed" "device=\"$device\"" "training.updates=$updates" "training.precision=\"$precision\"" \
      "training.workers=$workers" "${small[@]}"
  done
}

# decode_all: exp/texts/sSEED: greedy (of valid and test) and lm (of test, with a character n-gram of train's texts, whose weights
# valid chose)
decode_all() {
  local seed texts model lm="$exp/lm.arpa" lm_weights="0.25 0.5 1" bonuses="0 1 2"
  character_lm "$lm" "$parts" "$parts/train/text"
  for seed in $seeds; do
    texts="$exp/texts/s$seed" model="$exp/train/s$seed/recognizer"
    once "$texts/greedy" "$exp/train/s$seed" -- transcribe "$texts/greedy" "$parts/valid" "$parts/test" --model "$model"
    tune_decoder "$texts/decoder.json" "$texts/greedy" "$parts/valid/text" "$model" "$lm"
    once "$texts/lm" "$exp/train/s$seed" "$texts/decoder.json" "$lm" -- transcribe "$texts/lm" "$parts/test" --model "$model" \
      --lm "$lm" --decoder "$texts/decoder.json"
  done
}

# score_all: exp/scores/{greedy,lm}.sSEED.json, of test; valid's texts are what greedy has beside it
score_all() {
  local seed how
  for seed in $seeds; do
    for how in greedy lm; do
      echo "seed $seed, $how:"
      speechssl score wer "$exp/texts/s$seed/$how/text" "$parts/test/text" --allow-missing --worst 0 -o "$exp/scores/$how.s$seed.json"
    done
  done
}
