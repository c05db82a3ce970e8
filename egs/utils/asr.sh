# shellcheck shell=bash
# Recognisers of characters of one corpus, on speechssl's own encoder: what its run.sh does behind the data dirs. Needs stages.sh
# and path.sh, and the options parts (folder of the data dirs train, valid and test), exp, seeds, updates, device, precision,
# workers, order, beam, small (further options of the training, an array).
# shellcheck disable=SC2154

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
  local seed texts model lm="$exp/lm.arpa" running=(--device "$device" --workers "$workers" --quiet)
  once "$lm" "$parts" -- speechssl lm train "$parts/train/text" --ids --unit char --order "$order" -o "$lm"
  for seed in $seeds; do
    texts="$exp/texts/s$seed" model="$exp/train/s$seed/recognizer"
    once "$texts/greedy" "$exp/train/s$seed" -- speechssl transcribe "$parts/valid" "$parts/test" --model "$model" -o "$texts/greedy" \
      "${running[@]}"
    once "$texts/decoder.json" "$texts/greedy" "$lm" -- speechssl tune "$texts/greedy" "$parts/valid/text" --by characters \
      --model "$model" --lm "$lm" --beam "$beam" --lm-weights 0.25 0.5 1 --bonuses 0 1 2 -o "$texts/decoder.json"
    once "$texts/lm" "$exp/train/s$seed" "$texts/decoder.json" "$lm" -- speechssl transcribe "$parts/test" --model "$model" --lm "$lm" \
      --decoder "$texts/decoder.json" -o "$texts/lm" "${running[@]}"
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
