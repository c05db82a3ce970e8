#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Mboshi: recognisers of characters from 10 minutes, an hour and all of the labels, by several encoders.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the Mboshi folder (train/ dev/ utterances.tsv phones.tsv.gz), as seen from where you stand
#   --systems "..."         scratch: a fresh TDNN; builtin: speechssl's own encoder; continued: that after
#                           --continued-updates 300 (128 s each) more on all of train's speech, with --num-units 256 of its own as labels;
#                           NAME=FOLDER: any encoder;
#                           units, NAME:FOLDER: discrete units alone, of the built-in or another unit model; with +context
#                           behind the name the units of the utterances before and after it too
#   --subsets "10m 1h all"  labels to learn from;  --seeds "0 1 2"
#   --order 6  of the character n-gram;  --beam 30  --lm-weights "0.25 0.5 1 1.5"  --bonuses "0 1 2 3"  tried on the validation part
#   --more "..."            options of recipes.ctc or unit_asr behind those of all trainings, as settings.masking.time.share=0.3; another
#                           --exp for other ones
#   --updates 1500          of every training (80 s of speech each);  --device cpu  --precision fp32  --jobs 1  trainings at once
#   --workers 2             processes that read
#   --data data --exp exp   folders for data dirs and results
#   --tiny true             a miniature that ends within a minute or two
#   --stage 0 --stop-stage 5
set -euo pipefail
corpus='' systems="scratch builtin" subsets="10m 1h all" seeds="0 1 2" more='' updates=1500 device=cpu precision=fp32 jobs=1 workers=2
continued_updates=300 num_units=256 order=6 beam=30 lm_weights="0.25 0.5 1 1.5" bonuses="0 1 2 3" data=data exp=exp tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/asr.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the Mboshi folder, not '$corpus'" >&2; exit 2; fi
absolute corpus data exp
cd "$(dirname "$0")"
. ../../utils/path.sh
export data exp more updates continued_updates num_units device precision workers tiny beam lm_weights bonuses
limit=0
if "$tiny"; then
  limit=40 updates=6 continued_updates=4 num_units=8 order=2 beam=4 lm_weights=0.5 bonuses="0 20" data="$data/tiny" exp="$exp/tiny"
else
  data="$data/full"
fi
runs() { for system in $systems; do for subset in $subsets; do for seed in $seeds; do echo "$system" "$subset" "$seed"; done; done; done; }

if at_stage 0 "$corpus -> Kaldi data dirs"; then
  once "$data/corpus" "$corpus/utterances.tsv" ../units/local/prepare_data.py -- \
    ../units/local/prepare_data.py "$corpus" "$data/corpus" --limit "$limit"
fi
if at_stage 1 "$data/corpus -> a part for validation, subsets of the rest, speakers balanced; what some systems need"; then
  once "$data/sets" "$data/corpus" local/subset.py local/subsets.sh -- local/subsets.sh "$data/corpus/train" "$data/sets"
  echo "$systems" | xargs -n 1 local/units.sh
  echo "$systems" | xargs -n 1 local/continued.sh
fi
if at_stage 2 "subsets -> recognisers"; then
  runs | xargs -r -P "$jobs" -L 1 local/train.sh
fi
if at_stage 3 "recognisers, $data/corpus/dev -> texts and their errors"; then
  runs | lm='' xargs -r -P "$jobs" -L 1 local/evaluate.sh
fi
if at_stage 4 "texts of $data/sets/all -> n-gram; $data/sets/valid -> its weights; dev -> texts and their errors"; then
  export lm="$exp/lm/all.arpa" decoding=+lm
  character_lm "$lm" "$data/sets" "$data/sets/all/text"
  runs | xargs -r -P "$jobs" -L 1 local/evaluate.sh
fi
if at_stage 5 "errors -> table"; then
  local/table.py "$exp/scores"
fi
