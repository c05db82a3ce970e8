#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Mboshi: every self-supervised objective on the same speech, then a phone probe, PNMI and ABX of each encoder.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the Mboshi folder (train/ dev/ utterances.tsv phones.tsv.gz), as seen from where you stand
#   --objectives "..."      files of recipes/conf to train; hubert_iteration2 needs hubert; unit_bert has no part here
#   --untrained "..."       floors to score: untrained (mel.toml's encoder), untrained_cpc, untrained_wav2vec
#   --num-units 100         codebook size of labels and of scored units;  --seed 0
#   --updates 1000          of every training (40 s of speech each);  --device cpu  --jobs 1  trainings at once
#   --workers 2             processes that read;  --phone-shift -0.07  moves every label (see ../units/RESULTS.md)
#   --data data --exp exp   folders for data dirs and results
#   --tiny true             a miniature that ends within a minute or two
#   --stage 0 --stop-stage 4
set -euo pipefail
corpus='' objectives="cpc cpc_modified cpc_wasserstein wav2vec vq_wav2vec vq_wav2vec_kmeans wav2vec2 hubert wavlm data2vec
data2vec2 dinosr best_rq mp3 hubert_iteration2" untrained="untrained untrained_cpc untrained_wav2vec" num_units=100 seed=0 updates=1000 device=cpu jobs=1
workers=2 phone_shift=-0.07 data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name the Mboshi folder, not '$corpus'" >&2; exit 2; fi
absolute corpus data exp
cd "$(dirname "$0")"
. ../../utils/path.sh
export data exp updates device workers seed num_units tiny phone_shift
if "$tiny"; then limit=40 updates=6 data="$data/tiny" exp="$exp/tiny"; else limit=0 data="$data/full"; fi

if at_stage 0 "$corpus -> Kaldi data dirs"; then
  once "$data" "$corpus/utterances.tsv" ../units/local/prepare_data.py -- \
    ../units/local/prepare_data.py "$corpus" "$data" --limit "$limit"
fi
if at_stage 1 "$data -> MFCC labels, untrained encoders"; then
  once "$exp/mfcc" conf/mfcc.toml -- ../../utils/make_encoder.py conf/mfcc.toml "$exp/mfcc"
  for name in $untrained; do
    case "$name" in untrained) family=melhubert ;; *) family="${name#untrained_}" ;; esac
    once "$exp/$name" "conf/$name.toml" -- ../../utils/make_encoder.py "conf/$name.toml" "$exp/$name" "$family" "$seed"
  done
  local/labels.sh mfcc 0
fi
if at_stage 2 "labels -> encoders"; then
  first="$(for o in $objectives; do case "$o" in hubert_iteration2) ;; *) echo "$o" ;; esac; done)"
  echo "$first" | xargs -r -P "$jobs" -n 1 local/train.sh
  case " $objectives " in *hubert_iteration2*) local/labels.sh hubert 3; local/train.sh hubert_iteration2 ;; esac
fi
if at_stage 3 "encoders -> probe, PNMI, ABX of every layer"; then
  for o in mfcc $untrained $objectives; do echo "$o"; done | xargs -P "$jobs" -n 1 local/evaluate.sh
fi
if at_stage 4 "scores -> table"; then
  for o in mfcc $untrained $objectives; do echo "$exp/scores/$o.json"; done | xargs local/table.py
fi
