#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Mboshi: self-training. What a recogniser of run.sh writes of the rest of train, the surest of it, is learned from
# beside the labels by a new one (from the same encoder, as many updates); and so on.
# usage: self_training.sh --corpus DIR [--option value ...]
#   --corpus, --systems, --subsets, --seeds, --updates, --device, --precision, --workers, --data, --exp, --tiny: as run.sh,
#                           whose recognisers it takes, or trains where they are not there
#   --rounds 1              --keep 0.6  share of the texts that is kept
#   --texts subset          of the language model: subset, those of the labels alone; all: all of train's but valid's
#   --order 6 --beam 16     of it; --lm-weight 0.6 --bonus 1.0 for the texts that are learned from, and for dev the best of
#                           --lm-weights "0.25 0.5 1 1.5"  --bonuses "0 1 2 3"  on the validation part
#   --stage 0 --stop-stage 3
set -euo pipefail
corpus='' systems="scratch builtin" subsets="10m 1h" seeds="0 1 2" updates=1500 device=cpu precision=fp32 workers=2
rounds=1 keep=0.6 texts=subset order=6 beam=16 lm_weight=0.6 bonus=1.0
lm_weights="0.25 0.5 1 1.5" bonuses="0 1 2 3" data=data exp=exp tiny=false stage=0 stop_stage=3
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/asr.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the Mboshi folder, not '$corpus'" >&2; exit 2; fi
case "$texts" in subset | all) ;; *) echo "$0: --texts is subset or all, not $texts" >&2; exit 2 ;; esac
absolute corpus data exp
cd "$(dirname "$0")"
. ../../utils/path.sh
if at_stage 0 "$corpus -> recognisers of the labels alone"; then
  ./run.sh --corpus "$corpus" --systems "$systems" --subsets "$subsets" --seeds "$seeds" --updates "$updates" \
    --device "$device" --precision "$precision" --workers "$workers" --data "$data" --exp "$exp" --tiny "$tiny" \
    --stop-stage 2
fi
deviations=3
if "$tiny"; then
  updates=6 order=2 beam=4 bonus=20 lm_weights=0.5 bonuses="0 20" deviations=99 data="$data/tiny" exp="$exp/tiny"
else
  data="$data/full"
fi
search="--beam $beam --lm-weight $lm_weight --bonus $bonus"
export data exp updates device precision workers tiny keep deviations search beam lm_weights bonuses
runs() { for system in $systems; do for subset in $subsets; do for seed in $seeds; do echo "$system" "$subset" "$seed"; done; done; done; }

if at_stage 1 "train -> the rest of it behind each subset, language models"; then
  for subset in $subsets; do
    once "$data/rest/$subset" "$data/sets" local/rest.sh -- local/rest.sh "$data/sets" "$subset" "$data/rest/$subset"
    case "$texts" in subset) from="$subset" ;; *) from=all ;; esac
    character_lm "$exp/lm/$from.arpa" "$data/sets" "$data/sets/$from/text"
  done
fi
if at_stage 2 "recogniser -> texts of the rest -> the next recogniser, $rounds times"; then
  runs | while read -r system subset seed; do
    case "$texts" in subset) lm="$exp/lm/$subset.arpa" decoding=+ownlm ;; *) lm="$exp/lm/all.arpa" decoding=+lm ;; esac
    export lm decoding
    for round in "" $(seq "$rounds"); do
      if [ -n "$round" ]; then
        for step in pseudo train; do "local/$step.sh" "$system" "$subset" "$seed" "$round" </dev/null; done
      fi
      lm='' local/evaluate.sh "$system" "$subset" "$seed" "$round" </dev/null
      local/evaluate.sh "$system" "$subset" "$seed" "$round" </dev/null
    done
  done
fi
if at_stage 3 "errors -> tables"; then
  local/table.py "$exp/scores"
  local/kept.py "$exp/pseudo"
fi
