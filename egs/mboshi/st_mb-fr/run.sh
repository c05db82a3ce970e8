#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Mboshi speech to French text, and its encoder on to recognition of Mboshi: speech translation as a stage between pre-training and
# fine-tuning (arXiv:2403.19822), against fine-tuning at once.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the Mboshi folder (train/ dev/ utterances.tsv phones.tsv.gz), as seen from where you stand
#   --checkpoint FOLDER     the encoder that both go on from (default: the built-in one)
#   --st-updates 600        of translation, on all of train but its validation part, 80 s each;  --updates 300  of recognition
#   --subset 10m            labels of recognition;  --seeds 0;  --beam 5  of translation
#   --device cpu  --precision fp32  --workers 2 (processes that read)  --data data  --exp exp
#   --tiny true             a miniature that ends within a minute or two
#   --stage 0 --stop-stage 5
set -euo pipefail
corpus='' checkpoint='' st_updates=600 updates=300 subset=10m seeds=0 beam=5 device=cpu precision=fp32 workers=2
data=data exp=exp tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/dev_errors.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the Mboshi folder, not '$corpus'" >&2; exit 2; fi
if [ -n "$checkpoint" ]; then absolute checkpoint; fi
absolute corpus data exp
cd "$(dirname "$0")"
. ../../utils/path.sh
mkdir -p "$data" "$exp"
absolute data exp
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
limit=0 small=()
if "$tiny"; then
  limit=24 updates=4 st_updates=4 beam=2 workers=0 data="$data/tiny" exp="$exp/tiny"
  small=(data.batching.seconds=20 training.log_every=2 training.valid_every=4 settings.freeze_updates=2 settings.adaptor.num_layers=1
    'vocabulary={kind="characters"}' search.beam=2 search.max_tokens=10)
else data="$data/full"; fi
export data exp updates device precision workers tiny
checkpoint="${checkpoint:-$root/speechssl/assets/default/encoder}"

if at_stage 0 "$corpus -> Kaldi data dirs, a validation set and subsets; the same with French texts"; then
  once "$data/corpus" "$corpus/utterances.tsv" ../units/local/prepare_data.py -- \
    ../units/local/prepare_data.py "$corpus" "$data/corpus" --limit "$limit"
  (cd ../asr && once "$data/sets" "$data/corpus" local/subset.py local/subsets.sh -- \
    local/subsets.sh "$data/corpus/train" "$data/sets")
  for name in all valid; do
    once "$data/french/$name" "$data/sets" local/french.sh -- local/french.sh "$data/sets/$name" "$data/french/$name"
  done
  once "$data/french/dev" "$data/corpus" local/french.sh -- local/french.sh "$data/corpus/dev" "$data/french/dev"
fi
if at_stage 1 "Mboshi speech, French texts -> translators"; then
  for seed in $seeds; do
    once "$exp/st.s$seed" "$data/french/all" conf/st.toml -- python -m recipes.seq2seq conf/st.toml "run=\"$exp/st.s$seed\"" \
      "encoder={checkpoint=\"$checkpoint\"}" "data.train=\"$data/french/all\"" "data.valid=\"$data/french/valid\"" "seed=$seed" \
      "device=\"$device\"" "training.updates=$st_updates" "training.precision=\"$precision\"" "training.workers=$workers" "${small[@]}"
  done
fi
if at_stage 2 "translators, dev -> French, BLEU and chrF; the same texts for other utterances, as a floor"; then
  for seed in $seeds; do
    out="$exp/french/st.s$seed"
    once "$out" "$exp/st.s$seed" "$data/french/dev" -- speechssl translate "$data/french/dev" --model "$exp/st.s$seed/model" -o "$out" \
      --beam "$beam" --max-tokens 60 --max-per-frame 0 --device "$device"
    once "$out.shuffled" "$out" local/shuffle.sh -- local/shuffle.sh "$out/text" "$out.shuffled"
    for text in "$out/text" "$out.shuffled"; do
      echo "$text:"
      speechssl score bleu "$text" "$data/french/dev/text" --allow-missing -o "${text%/text}.json"
    done
  done
fi
if at_stage 3 "encoders, $subset of labels -> recognisers"; then
  for seed in $seeds; do
    (cd ../asr && for system in "none=$checkpoint" "st=$exp/st.s$seed/encoder"; do local/train.sh "$system" "$subset" "$seed"; done)
  done
fi
if at_stage 4 "recognisers, dev -> texts and their errors"; then
  for seed in $seeds; do for system in none st; do
    dev_errors "$exp/${system}_${subset}_$seed/recognizer" "$data/corpus/dev" "$exp/texts/$system.s$seed" \
      "$exp/scores/$system.s$seed.json" "$exp/texts/none.s$seed"
  done; done
fi
if at_stage 5 "errors -> table"; then ../../utils/wer_table.py "dev=$exp/scores"; fi
