#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Which of five languages: a linear probe of all layers averaged over time, and nearest neighbours by edit distance of units.
# usage: run.sh --prompts DIR [--option value ...]
#   --prompts DIR           Asterisk's prompts in en es fr it ru, and festvox-ru: unpacked Debian packages, as seen from where you stand
#   --download true         fetch them into that folder (230 MB; needs apt-get, dpkg, PyAV)
#   --corpora DIR           the folder with librispeech_subset/ and speech_to_intent/, the English of the transfer test
#   --encoders "..."        of: mfcc, untrained (the built-in encoder with fresh weights, others for every seed), builtin
#   --units "..."           of: mfcc, untrained, builtin (k-means of these on the training prompts), default (the built-in unit model)
#   --tasks "..."           of: lang, same_voice, transfer (see below)
#   --poolings "mean"       over time, of: mean (as SUPERB does), mean_std;  --each-layer true  probes of each layer alone, too
#   --seeds "0 1 2"         of which prompts are the test, of k-means, of untrained weights, of the part that the penalty is chosen on
#   --transfer 200          utterances of each other corpus;  --num-units 100 -k of neighbours: --neighbours 5;  --workers 2  processes
#   --data data --exp exp   folders for data dirs and results
#   --tiny true             a miniature that ends within two minutes;  --stage 0 --stop-stage 4
# EVERY LANGUAGE HAS ONE VOICE: they can be told apart without knowing a language. So no prompt is in train and test (lang), and
# two more tests ask for the language itself: same_voice (English against Spanish, both spoken by Allison Smith) and transfer
# (learned from the prompts, tested on other people's English and Russian over other channels).
set -euo pipefail
prompts='' download=false corpora='' encoders="mfcc untrained builtin" units="mfcc untrained builtin default" tasks="lang same_voice transfer"
poolings=mean each_layer=false seeds="0 1 2" transfer=200 num_units=100 neighbours=5 workers=2 data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if "$download" && [ -n "$prompts" ]; then mkdir -p "$prompts"; fi
if [ ! -d "$prompts" ]; then echo "$0: --prompts must name a folder, not '$prompts'" >&2; exit 2; fi
absolute prompts corpora
cd "$(dirname "$0")"
. ../../utils/path.sh
. ../../utils/encoders.sh
if "$tiny"; then seeds=0 num_units=20 transfer=5 workers=0 limit=16 data="$data/tiny" exp="$exp/tiny"; else limit=0 data="$data/full"; fi
scores="$exp/scores"
# split TASK SEED: the labels to be learned and tested
split() {
  case "$1" in
    lang) args=(--labels "$data/s$2/test/utt2lang" --train-labels "$data/s$2/train/utt2lang" --allow-missing) ;;
    same_voice) args=(--labels "$data/s$2/test/same_voice" --train-labels "$data/s$2/train/same_voice" --allow-missing) ;;
    transfer) args=(--labels "$data/transfer/utt2lang" --train-labels "$data/s$2/train/utt2lang" --by "$data/transfer/utt2corpus" --allow-missing) ;;
  esac
}
utterances() {
  local test="$data/s$2/test"
  if [ "$1" = transfer ]; then test="$data/transfer"; fi
  split "$1" "$2" # a prompt has 86 s
  args=("$test" --train "$data/s$2/train" "${args[@]}" --validation-groups "$data/prompts/utt2prompt" --max-s 120)
}
units_of() { split "$1" "$2" && args=("$3" --train "$3" "${args[@]}"); }

if at_stage 0 "$prompts -> Kaldi data dirs"; then
  if "$download"; then ../../utils/debian_packages.sh "$prompts" "$(echo asterisk-core-sounds-{en,fr,es,it,ru}-g722 festvox-ru)"; fi
  once "$data" local/prepare_data.py -- local/prepare_data.py --prompts "$prompts" ${corpora:+--corpora "$corpora"} \
    --seeds "$seeds" --transfer "$transfer" --limit "$limit" "$data"
fi
if at_stage 1 "encoders, codebooks of training prompts -> all units"; then units_of_all "$data/sSEED/train" "$data/prompts" "$data/transfer"; fi
if at_stage 2 "all layers averaged over time -> probes"; then probes_of_all; fi
if at_stage 3 "units -> nearest neighbours"; then neighbours_of_all; fi
if at_stage 4 "scores -> table"; then
  columns=" $tasks "
  corpora=$(cut -d' ' -f2 "$data/transfer/utt2corpus" | sort -u | sed 's/^/transfer@/')
  ../../utils/class_table.py "$scores" "$(table_rows)" "${columns/ transfer / $corpora }" "$seeds"
fi
