#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Two Italian voices (Asterisk's prompts by Carlo and Paola, as in ../vc_it): rhythm, pitch and speaker converted each on its own, to
# recordings of the other that were never trained on (arXiv:2211.06535), and compared with what the other really said.
# usage: run.sh --prompts DIR [--option value ...]
#   --prompts DIR         unpacked Debian packages, as seen from where you stand;  --download true  fetch them into it (30 MB; needs apt-get, dpkg)
#   --units default       unit model: a folder, or a built-in one;  --updates 1500  of the training;  --seconds 16  of speech in an update
#   --measures ""         further options of speechssl score speech, such as "--similarity"
#   --test 60             prompts;  --workers 2  processes;  --device cpu  or cuda;  --precision fp32;  --data data --exp exp  folders
#   --tiny true           a miniature that says nothing;  --stage 0 --stop-stage 5
# Rows, of both directions, all against the target's own recordings, over a time warp: the source as it is; kept: spoken again, with its
# own rhythm and pitch and the speaker of its own reference (what synthesis alone does); what is converted; the target itself.
set -euo pipefail
prompts='' download=false units=default updates=1500 seconds=16 device=cpu precision=fp32 measures='' test=60 workers=2 data=data exp=exp
tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/voice_pairs.sh"
if "$download" && [ -n "$prompts" ]; then mkdir -p "$prompts"; fi
if [ ! -d "$prompts" ]; then echo "$0: --prompts must name a folder, not '$prompts'" >&2; exit 2; fi
absolute prompts units
cd "$(dirname "$0")"
. ../../utils/path.sh
options=(--test "$test") small=()
if "$tiny"; then
  updates=2 seconds=2 workers=0 measures="$measures --no-f0" data="$data/tiny" exp="$exp/tiny" options=(--test 2 --valid 1 --limit 4 --shortest 0.6)
  small=(settings.decoder.dim=16 settings.decoder.ffn_dim=16 settings.decoder.num_layers=1 training.workers=0 data.batching.crop_s=1.0)
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
decoder="$exp/train" parts="train valid test/carlo test/paola"
# of_row ROW: what it converts, and to whose reference
of_row() {
  to="${pair#*-}" converted=("${row}")
  case "$row" in kept) to="${pair%-*}" converted=(speaker) ;; all) converted=(rhythm pitch speaker) ;; esac
}

if at_stage 0 "$prompts -> Kaldi data dirs; of each voice's validation prompts a reference"; then
  if "$download"; then ../../utils/debian_packages.sh "$prompts" "asterisk-core-sounds-it-g722 asterisk-prompt-it-menardi-wav"; fi
  once "$data" ../vc_it/local/prepare_data.py -- ../vc_it/local/prepare_data.py --prompts "$prompts" "${options[@]}" "$data"
  for voice in carlo paola; do  # of a data dir wav.scp is enough
    mkdir -p "$data/reference/$voice"
    grep "^$voice-" "$data/valid/wav.scp" > "$data/reference/$voice/wav.scp"
  done
fi
if at_stage 1 "speech -> units, F0"; then
  for part in $parts; do
    once "$exp/units/$part" "$data" -- speechssl units "$data/$part" --model "$units" --workers "$workers" --quiet -o "$exp/units/$part"
    once "$exp/pitch/$part" "$data" -- speechssl pitch "$data/$part" --workers "$workers" -o "$exp/pitch/$part"
  done
fi
if at_stage 2 "units, F0, speech -> mel decoder with prosody"; then
  once "$decoder" "$data" "$exp/units/train" "$exp/pitch/train" -- python -m recipes.mel "$root/recipes/conf/tiny_prosody.toml" run="$decoder" \
    unit_model="$units" data.train="$data/train" data.labels="$exp/units/train" data.pitch="$exp/pitch/train" data.valid="$data/valid" \
    data.valid_labels="$exp/units/valid" data.valid_pitch="$exp/pitch/valid" device="$device" training.updates="$updates" \
    training.precision="$precision" data.batching.seconds="$seconds.0" "${small[@]}"
fi
if at_stage 3 "test speech -> with rhythm, pitch, speaker of the other"; then
  for pair in carlo-paola paola-carlo; do
    for row in kept rhythm pitch speaker all; do
      of_row
      once "$exp/speech/$pair/$row" "$decoder" "$exp/pitch/test/${pair%-*}" -- speechssl convert-voice "$data/test/${pair%-*}" --units "$units" \
        --pitch "$exp/pitch/test/${pair%-*}" --to "$data/reference/$to" --convert "${converted[@]}" --mel-decoder "$decoder/mel_decoder" \
        --quiet -o "$exp/speech/$pair/$row"
    done
  done
fi
made_of() {
  case "$2" in
    source) made="$data/test/${1%-*}" ;;
    target) made="$data/test/${1#*-}" ;;
    *) made="$exp/speech/$1/$2" ;;
  esac
}
score_pairs 4 "$exp/scores" "carlo-paola paola-carlo" "source kept rhythm pitch speaker all target"
if at_stage 5 "scores -> table"; then ../../utils/speech_table.py "$exp/scores" "$rows"; fi
