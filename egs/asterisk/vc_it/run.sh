#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Two Italian voices (Asterisk's prompts by Carlo and Paola, CC BY(-SA) 3.0), each in the other's: units, a mel decoder with an
# embedding of the speaker, Griffin-Lim or a vocoder of mels. Held-out prompts are compared with what the target really said.
# usage: run.sh --prompts DIR [--option value ...]
#   --prompts DIR         unpacked Debian packages, as seen from where you stand;  --download true  fetch them into it (30 MB; needs apt-get, dpkg)
#   --units default       unit model: a folder, or a built-in one
#   --kind regression     or flow, diffusion;  --embeddings ""  speakers by a table that is learned, or "resemblyzer"
#   --mel-vocoder DIR     a vocoder of these mels (recipes.mel_vocoder) in place of Griffin-Lim
#   --updates 2000        of the training;  --seconds 64  of speech in an update;  --device cpu  or cuda;  --precision fp32
#   --measures ""         further options of speechssl score speech, such as "--similarity --dnsmos"
#   --test 60             prompts;  --workers 2  processes;  --data data --exp exp  folders;  --tiny true  a miniature that says nothing
#   --stage 0 --stop-stage 5
# Rows, of both directions, all against the target's own recordings, over a time warp: the target itself, the vocoder of its own mels
# (copy, with --mel-vocoder), its units in its own voice (what conversion can get to), the source converted, the source as it is.
set -euo pipefail
prompts='' download=false units=default kind=regression embeddings='' mel_vocoder='' updates=2000 seconds=64 device=cpu precision=fp32
measures='' test=60 workers=2 data=data exp=exp tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/voice_pairs.sh"
if "$download" && [ -n "$prompts" ]; then mkdir -p "$prompts"; fi
if [ ! -d "$prompts" ]; then echo "$0: --prompts must name a folder, not '$prompts'" >&2; exit 2; fi
absolute prompts units embeddings mel_vocoder
. "$(dirname "$0")/../../utils/mel_vocoder.sh"
cd "$(dirname "$0")"
. ../../utils/path.sh
options=(--test "$test") small=()
if "$tiny"; then
  updates=2 seconds=2 workers=0 measures="$measures --no-f0" data="$data/tiny" exp="$exp/tiny" options=(--test 2 --valid 1 --limit 4 --shortest 0.6)
  small=(settings.decoder.dim=16 settings.decoder.ffn_dim=16 settings.decoder.num_layers=1 training.workers=0 data.batching.crop_s=1.0)
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
kind_of="$kind${embeddings:+-embeddings}"
decoder="$exp/train/$kind_of"

if at_stage 0 "$prompts -> Kaldi data dirs"; then
  if "$download"; then ../../utils/debian_packages.sh "$prompts" "asterisk-core-sounds-it-g722 asterisk-prompt-it-menardi-wav"; fi
  once "$data" local/prepare_data.py -- local/prepare_data.py --prompts "$prompts" "${options[@]}" "$data"
fi
if at_stage 1 "speech -> units"; then
  for part in train valid test/carlo test/paola; do
    once "$exp/units/$part" "$data" -- speechssl units "$data/$part" --model "$units" --workers "$workers" --quiet -o "$exp/units/$part"
  done
fi
if at_stage 2 "units, speakers -> mel decoder"; then
  once "$decoder" "$data" "$exp/units/train" "$exp/units/valid" -- python -m recipes.mel "$root/recipes/conf/mel_$kind.toml" run="$decoder" \
    unit_model="$units" data.train="$data/train" data.labels="$exp/units/train" data.valid="$data/valid" \
    data.valid_labels="$exp/units/valid" data.speakers=true ${embeddings:+data.embeddings="$embeddings"} device="$device" \
    training.updates="$updates" training.precision="$precision" data.batching.seconds="$seconds.0" "${small[@]}"
fi
if at_stage 3 "test units -> speech in both voices"; then
  for pair in carlo-carlo carlo-paola paola-paola paola-carlo; do
    once "$exp/speech/$kind_of/$pair" "$decoder" "$exp/units/test/${pair%-*}" "${vocoder_card[@]}" -- speechssl convert-voice \
      "$exp/units/test/${pair%-*}" --to "${pair#*-}" --mel-decoder "$decoder/mel_decoder" "${behind[@]}" --quiet -o "$exp/speech/$kind_of/$pair"
  done
  for speaker in carlo paola; do copy_synthesis "$data/test/$speaker" "$exp/speech/copy/$speaker"; done
fi
spoken="$exp/speech/$kind_of"
score_pairs 4 "$exp/scores/$kind_of" "carlo-paola paola-carlo" "target $copy own converted source"
if at_stage 5 "scores -> table"; then ../../utils/speech_table.py "$exp/scores/$kind_of" "$rows"; fi
