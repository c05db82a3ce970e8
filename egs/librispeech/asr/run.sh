#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# LibriSpeech: recognisers of letters from 10 minutes to 960 hours of labels, fine-tuned from any checkpoint with wav2vec 2.0's
# settings (arXiv:2006.11477, HuBERT has the same but for updates and rates), greedy and with an n-gram of words.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the LibriSpeech folder (train-clean-100/ dev-clean/ ...), as seen from where you stand
#   --download true         fetch the subsets that are missing there (dev and test 1.3 GB, train-clean-100 6 GB, all 60 GB)
#   --labels "10m 1h 10h 100h 960h"
#   --librilight DIR        for 10m, 1h, 10h: Libri-Light's librispeech_finetuning (1h/0 ... 1h/5, 9h), or a folder with lists of
#                           utterances of --train, 10m.ids, 1h.ids, 10h.ids
#   --train "train-clean-100 train-clean-360 train-other-500"  subsets for 960h and for lists
#   --encoder facebook/wav2vec2-base   a name, fetched on first use, a folder or a file
#   --lm FILE               n-gram of words, ARPA (openslr.org/11: 4-gram.arpa.gz); without it: greedy alone
#   --lexicon FILE          lines of a word and its letters; without it the words of --lm;  --closed true  no other words
#   --beam 100  --lm-weights "0.3 0.6 0.9 1.2"  --bonuses "-1 0 1 2"   tried on dev-other
#   --gpus 1  --accumulate 8   the papers' update: 1600 s of speech;  --gpus 0: the CPU
#   --seed 0  --workers 8  --data data  --exp exp  --stage 0  --stop-stage 4
#   --tiny true             the same stages with few updates on the CPU, from the built-in encoder unless --encoder is given
set -euo pipefail
corpus='' download=false labels="10m 1h 10h 100h 960h" librilight='' train="train-clean-100 train-clean-360 train-other-500"
encoder=facebook/wav2vec2-base lm='' lexicon='' closed=true beam=100 lm_weights="0.3 0.6 0.9 1.2" bonuses="-1 0 1 2"
gpus=1 accumulate=8 seed=0 workers=8 data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/librispeech.sh"
. "$(dirname "$0")/../../utils/pretrain.sh"
. "$(dirname "$0")/../../utils/asr.sh"
if "$download" && [ -n "$corpus" ]; then mkdir -p "$corpus"; fi
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the LibriSpeech folder, not '$corpus'" >&2; exit 2; fi
for hours in $labels; do case "$hours" in
  100h | 960h) ;;
  10m | 1h | 10h) if [ ! -d "$librilight" ]; then echo "$0: $hours of labels: --librilight must name a folder, not '$librilight'" >&2; exit 2; fi ;;
  *) echo "$0: --labels are 10m, 1h, 10h, 100h and 960h, not $hours" >&2; exit 2 ;;
esac; done
absolute corpus librilight encoder lm lexicon
cd "$(dirname "$0")"
. ../../utils/path.sh
small=()
if "$tiny"; then
  gpus=0 accumulate=1 workers=0 beam=4 lm_weights=0.5 bonuses=0 data="$data/tiny" exp="$exp/tiny" small=(conf/tiny.toml)
  if [ "$encoder" = facebook/wav2vec2-base ]; then encoder=default; fi
fi
if [ "$gpus" = 0 ]; then device=cpu; else device=cuda; fi
tests=(dev-clean dev-other test-clean test-other) search=()
if [ -n "$lm" ]; then search+=(--lm "$lm"); fi
if [ -n "$lexicon" ]; then search+=(--lexicon "$lexicon"); fi

# labelled HOURS: what a recogniser learns from, data/train/HOURS
labelled() {
  local out="$data/train/$1" all
  read -ra all <<<"$train"
  case "$1" in
    100h) librispeech "$out" train-clean-100 ;;
    960h) librispeech "$out" "${all[@]}" ;;
    *)
      if [ -f "$librilight/$1.ids" ]; then
        librispeech "$data/train/960h" "${all[@]}"
        once "$out" "$data/train/960h" "$librilight/$1.ids" -- speechssl data subset --utt-list "$librilight/$1.ids" \
          "$data/train/960h" "$out"
        return
      fi
      case "$1" in 10m) all=(1h/0) ;; 1h) all=(1h) ;; *) all=(1h 9h) ;; esac
      kaldi_dir "$out" "${all[@]/#/$librilight/}" ;;
  esac
}

if at_stage 0 "corpus -> data dirs, letters"; then
  for part in "${tests[@]}"; do librispeech "$data/$part" "$part"; done
  for hours in $labels; do labelled "$hours"; done
  once "$data/letters" local/letters.py -- local/letters.py "$data/letters"
fi
if at_stage 1 "labels -> recognisers"; then
  for hours in $labels; do
    conf="$root/recipes/conf/ctc_$hours.toml"
    once "$exp/$hours" "$data/train/$hours" "$data/dev-other" "$conf" "${small[@]}" -- on_gpus "$gpus" ctc "$conf" "${small[@]}" \
      "run=\"$exp/$hours\"" "encoder={checkpoint=\"$encoder\"}" "data.train=\"$data/train/$hours\"" \
      "data.valid=\"$data/dev-other\"" "vocabulary.folder=\"$data/letters\"" "training.accumulate=$accumulate" "seed=$seed"
  done
fi
if at_stage 2 "${tests[*]} -> texts, greedily"; then
  for hours in $labels; do
    once "$exp/texts/$hours/greedy" "$exp/$hours" -- transcribe "$exp/texts/$hours/greedy" "${tests[@]/#/$data/}" \
      --model "$exp/$hours/recognizer"
  done
fi
if [ -n "$lm" ] && at_stage 3 "dev-other -> weights of $lm; the same log probabilities -> texts with it"; then
  for hours in $labels; do
    texts="$exp/texts/$hours" model="$exp/$hours/recognizer" open=()
    if "$closed"; then open=(--closed); fi
    tune_decoder "$texts/decoder.json" "$texts/greedy" "$data/dev-other/text" "$model" "$lm" words "${search[@]:2}" "${open[@]}"
    once "$texts/lm" "$texts/greedy" "$texts/decoder.json" "$lm" -- decode "$texts/lm" "$texts/greedy" "${tests[@]/#/$data/}" \
      --model "$model" --decoder "$texts/decoder.json" "${search[@]}"
  done
fi
if at_stage 4 "texts -> errors, beside the papers'"; then
  for hours in $labels; do for how in greedy ${lm:+lm}; do for part in "${tests[@]}"; do
    out="$exp/scores/$hours.$how.$part.json" texts="$exp/texts/$hours/$how"
    once "$out" "$texts" "$data/$part" -- speechssl score wer "$texts/text" "$data/$part/text" --count-missing --allow-missing \
      --worst 0 -o "$out"
  done; done; done
  local/table.py "$exp/scores" conf/papers.tsv
fi
