#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# The test of ../vc_it (two Italian voices, each in the other's, against what the other really said) by StarGANv2-VC (arXiv:2107.10394): mels to mels against
# adversaries, without units, texts or pairs, and Griffin-Lim.
# usage: run.sh --prompts DIR [--option value ...]
#   --prompts DIR         unpacked Debian packages, as seen from where you stand;  --download true  fetch them into it (30 MB; needs apt-get, dpkg)
#   --config tiny_stargan_vc   of recipes/conf, or stargan_vc (the published size)
#   --updates 1500        of the training;  --training ""  further settings, such as "losses.cycle=1.0";  --device cpu  or cuda;  --precision fp32
#   --speech 0            weight of what is said (published: 10): then the mel reader hears the built-in units, and it is not free of them any more
#   --measures ""         further options of speechssl score speech, such as "--similarity --dnsmos"
#   --test 60             prompts;  --workers 2  processes;  --data data --exp exp  folders;  --tiny true  a miniature that says nothing
#   --stage 0 --stop-stage 6
# Rows, of both directions, all against the target's own recordings, over a time warp: the target itself; own: the target's recordings converted to the target;
# the source converted; kept: the source converted to its own speaker, which is what to compare with; the source as it is.
set -euo pipefail
prompts='' download=false config=tiny_stargan_vc updates=1500 training='' device=cpu precision=fp32 speech=0 measures='' test=60 workers=2
data=data exp=exp tiny=false stage=0 stop_stage=6
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/voice_pairs.sh"
if "$download" && [ -n "$prompts" ]; then mkdir -p "$prompts"; fi
if [ ! -d "$prompts" ]; then echo "$0: --prompts must name a folder, not '$prompts'" >&2; exit 2; fi
absolute prompts
cd "$(dirname "$0")"
. ../../utils/path.sh
options=(--test "$test") small=() least=() said=()
if "$tiny"; then
  updates=2 workers=0 measures="$measures --no-f0" data="$data/tiny" exp="$exp/tiny" options=(--test 2 --valid 1 --limit 4 --shortest 0.6)
  least=(training.updates=2 training.workers=0 reader.dim=8)
  small=(converter.channels=8 converter.most_channels=8 critic_channels=8 training.workers=0 data.batching.seconds=3.0 data.batching.min_s=0.5)
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
if [ "$speech" != 0 ]; then said=(data.labels="$exp/units/train" data.valid_labels="$exp/units/valid"); fi

if at_stage 0 "$prompts -> Kaldi data dirs"; then
  if "$download"; then ../../utils/debian_packages.sh "$prompts" "asterisk-core-sounds-it-g722 asterisk-prompt-it-menardi-wav"; fi
  once "$data" ../vc_it/local/prepare_data.py -- ../vc_it/local/prepare_data.py --prompts "$prompts" "${options[@]}" "$data"
fi
if at_stage 1 "speech -> F0, and units where they are wanted"; then
  for part in train valid; do
    once "$exp/pitch/$part" "$data" -- speechssl pitch "$data/$part" --workers "$workers" -o "$exp/pitch/$part"
    if [ "$speech" = 0 ]; then continue; fi
    once "$exp/units/$part" "$data" -- speechssl units "$data/$part" --workers "$workers" --quiet -o "$exp/units/$part"
  done
fi
if at_stage 2 "speech, F0 -> mel reader"; then
  once "$exp/reader" "$data" "$exp/pitch/train" -- python -m recipes.mel_reader "$root/recipes/conf/mel_reader.toml" run="$exp/reader" device="$device" \
    data.train="$data/train" data.pitch="$exp/pitch/train" data.valid="$data/valid" data.valid_pitch="$exp/pitch/valid" "${said[@]}" "${least[@]}"
fi
if at_stage 3 "speech, speakers, mel reader -> mel converter"; then
  # shellcheck disable=SC2086  # settings are several
  once "$exp/train" "$data" "$exp/reader" -- python -m recipes.stargan_vc "$root/recipes/conf/$config.toml" run="$exp/train" device="$device" \
    reader="$exp/reader/mel_reader" data.train="$data/train" data.valid="$data/valid" training.updates="$updates" training.precision="$precision" \
    losses.speech="$speech.0" $training "${small[@]}"
fi
if at_stage 4 "test speech -> both voices"; then
  for pair in carlo-carlo carlo-paola paola-paola paola-carlo; do
    once "$exp/speech/$pair" "$exp/train" -- speechssl convert-voice "$data/test/${pair%-*}" --to "${pair#*-}" --mel-converter "$exp/train/mel_converter" \
      --quiet -o "$exp/speech/$pair"
  done
fi
spoken="$exp/speech"
score_pairs 5 "$exp/scores" "carlo-paola paola-carlo" "target own converted kept source"
if at_stage 6 "scores -> table"; then ../../utils/speech_table.py "$exp/scores" "$rows"; fi
