#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Mboshi by telephone: an encoder goes on learning from telephone speech, from wideband speech as well, or first the one and
# then the other, before it is fine-tuned; schedules as in HYKIST (arXiv:2309.15869), in one table.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR            the Mboshi folder (train/ dev/ utterances.tsv phones.tsv.gz), as seen from where you stand
#   --line alaw             band (300 to 3400 Hz at 8 kHz), or G.711 behind it: alaw, mulaw;  --packet-loss 0  share of packets
#   --checkpoint FOLDER     the encoder that goes on learning (default: the built-in one);  --layer 5  its last
#   --schedules "..."       none, in-domain (telephone), mixed (telephone and wideband), mixed+in-domain (half the updates each)
#   --num-units 256         of the labels: k-means of that layer on an hour of telephone speech
#   --pretrain-updates 120  of 128 s, of every schedule;  --updates 300  of 80 s, with CTC;  --subset 10m  labels;  --seeds 0
#   --device cpu  --precision fp32  --workers 2 (processes that read)  --data data  --exp exp
#   --tiny true             a miniature that ends within a minute or two
#   --stage 0 --stop-stage 5
set -euo pipefail
corpus='' line=alaw packet_loss=0 checkpoint='' layer=5 schedules="none in-domain mixed mixed+in-domain" num_units=256
pretrain_updates=120 updates=300 subset=10m seeds=0 device=cpu precision=fp32 workers=2
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
if "$tiny"; then limit=24 updates=4 pretrain_updates=4 num_units=8 workers=0 data="$data/tiny" exp="$exp/tiny"
else limit=0 data="$data/full"; fi
if [ "${schedules%% *}" != none ]; then echo "$0: --schedules starts with none, which the others stand beside" >&2; exit 2; fi
checkpoint="${checkpoint:-$root/speechssl/assets/default/encoder}"
export data exp checkpoint pretrain_updates updates device precision workers tiny
for_schedules() { for seed in $seeds; do for schedule in $schedules; do "$@"; done; done; } # with these variables

learn() { local/pretrain.sh "$schedule" "$seed"; }
# tune BAND SYSTEM: a recogniser of the labels of this band
tune() { data="$data/$1" exp="$exp/$1" local/train.sh "$2" "$subset" "$seed"; }
tune_one() {
  if [ "$schedule" != none ]; then tune telephone "$schedule=$exp/pretrain/$schedule.s$seed/encoder"
  else tune wide "none=$checkpoint"; tune telephone "none=$checkpoint"; fi
}
# score BAND: dev of both bands, by what was tuned on BAND; differences are to what `telephone none` writes
score() {
  local tested name="$1.$schedule.s$seed"
  for tested in telephone wide; do
    dev_errors "$exp/$1/${schedule}_${subset}_$seed/recognizer" "$data/$tested/corpus/dev" "$exp/texts/$tested/$name" \
      "$exp/scores/$tested/$name.json" "$exp/texts/$tested/telephone.none.s$seed"
  done
}
score_one() { score telephone; if [ "$schedule" = none ]; then score wide; fi; }

if at_stage 0 "$corpus -> Kaldi data dirs, wideband and by telephone, validation sets and subsets, both bands as one"; then
  once "$data/wide/corpus" "$corpus/utterances.tsv" ../units/local/prepare_data.py -- \
    ../units/local/prepare_data.py "$corpus" "$data/wide/corpus" --limit "$limit"
  once "$data/telephone/corpus" "$data/wide/corpus" local/call.sh -- \
    local/call.sh "$data/wide/corpus" "$data/telephone/corpus" "$line" "$packet_loss" "$workers"
  for band in wide telephone; do
    (cd ../asr && once "$data/$band/sets" "$data/$band/corpus" local/subset.py local/subsets.sh -- \
      local/subsets.sh "$data/$band/corpus/train" "$data/$band/sets")
  done
  once "$data/mixed" "$data/wide/corpus" "$data/telephone/corpus" local/mix.sh -- \
    local/mix.sh "$data/telephone/corpus/train" "$data/wide/corpus/train" "$data/mixed"
fi
if at_stage 1 "$checkpoint, an hour of telephone speech -> $num_units units; those of both bands"; then
  once "$exp/kmeans" "$data/telephone/sets" -- speechssl kmeans "$data/telephone/sets/1h" --encoder "$checkpoint" \
    --layer "$layer" --num-units "$num_units" --seed 0 --workers "$workers" --device "$device" --quiet -o "$exp/kmeans"
  once "$exp/labels" "$data/mixed" "$exp/kmeans" -- speechssl units "$data/mixed" --model "$exp/kmeans" --workers "$workers" \
    --device "$device" --quiet -o "$exp/labels"
fi
if at_stage 2 "units -> encoders that went on learning"; then for_schedules learn; fi
if at_stage 3 "encoders, $subset of labels -> recognisers"; then cd ../asr; for_schedules tune_one; cd ../telephone; fi
if at_stage 4 "recognisers, dev -> texts and their errors"; then for_schedules score_one; fi
if at_stage 5 "errors -> table"; then ../../utils/wer_table.py "telephone=$exp/scores/telephone" "wideband=$exp/scores/wide"; fi
