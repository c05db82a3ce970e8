#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# German sentences (Kerstin, CC0, 1.76 h, one voice): mel decoders on units by regression, flow matching and diffusion. One network,
# one schedule, the same units, one vocoder behind all of them: Griffin-Lim, or --mel-vocoder.
# 40 sentences that were never trained on, as in ../resynth.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          Kerstin's corpus: metadata.csv and verified/*.opus, as seen from where you stand
#   --units default       unit model: a folder, or a built-in one
#   --recognizer DIR      a recogniser of German (../asr trains one): character error rates
#   --mel-vocoder DIR     a vocoder of these mels (../mel_vocoder trains one) in place of Griffin-Lim
#   --measures ""         further options of speechssl score speech, such as "--similarity --dnsmos"
#   --updates 2000        of each training;  --seconds 64  of speech in an update;  --device cpu  or cuda;  --precision fp32
#   --steps 16            of a flow or diffusion;  --guidance 1  of the row "guided": the flow, away from what it says without units
#   --workers 2           processes;  --data data --exp exp  folders;  --tiny true  a miniature that says nothing;  --stage 0 --stop-stage 5
# Rows: the recording, Griffin-Lim of its own mels (what no decoder gets beyond), the vocoder of them (copy), and the decoders.
set -euo pipefail
corpus='' units=default recognizer='' mel_vocoder='' measures='' updates=2000 seconds=64 device=cpu precision=fp32 steps=16 guidance=1
workers=2 data=data exp=exp tiny=false stage=0 stop_stage=5
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/heard.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus units recognizer mel_vocoder
. "$(dirname "$0")/../../utils/mel_vocoder.sh"
cd "$(dirname "$0")"
. ../../utils/path.sh
held_out=(--valid 20 --test 40) small=() decoders="regression flow guided diffusion" rows="real inverted $copy regression flow guided diffusion"
if "$tiny"; then
  updates=2 steps=2 seconds=2 workers=0 data="$data/tiny" exp="$exp/tiny" held_out=(--valid 1 --test 2 --limit 6)
  small=(settings.decoder.dim=16 settings.decoder.ffn_dim=16 settings.decoder.num_layers=1 training.workers=0 data.batching.crop_s=1.0)
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# of_row ROW: its decoder, and how it is decoded
of_row() {
  decoder="$exp/train/${1/guided/flow}" options=(--steps "$steps")
  case "$1" in guided) options+=(--guidance "$guidance") ;; regression) options=() ;; esac
}

if at_stage 0 "$corpus -> Kaldi data dirs"; then
  once "$data" ../resynth/local/prepare_data.py -- ../resynth/local/prepare_data.py --corpus "$corpus" "${held_out[@]}" "$data"
fi
if at_stage 1 "speech -> units"; then
  for part in train valid test; do
    once "$exp/units/$part" "$data" -- speechssl units "$data/$part" --model "$units" --workers "$workers" --quiet -o "$exp/units/$part"
  done
fi
if at_stage 2 "units, speech -> mel decoders"; then
  for kind in regression flow diffusion; do
    once "$exp/train/$kind" "$data" "$exp/units/train" "$exp/units/valid" -- python -m recipes.mel "$root/recipes/conf/mel_$kind.toml" \
      run="$exp/train/$kind" unit_model="$units" data.train="$data/train" data.labels="$exp/units/train" data.valid="$data/valid" \
      data.valid_labels="$exp/units/valid" device="$device" licence=CC0-1.0 training.updates="$updates" training.precision="$precision" \
      data.batching.seconds="$seconds.0" "${small[@]}"
  done
fi
if at_stage 3 "test units -> mels -> their scores, speech"; then
  for row in $decoders; do
    of_row "$row"
    mels=() && [ "$row" != regression ] || mels=(--inverted "$exp/speech/inverted")
    once "$exp/scores/$row.mel.json" "$decoder" local/mel_scores.py -- local/mel_scores.py "$data/test" "$decoder/mel_decoder" \
      "$exp/scores/$row.mel.json" --units "$units" "${options[@]}" "${mels[@]}"
    once "$exp/speech/$row" "$decoder" "$exp/units/test" "${vocoder_card[@]}" -- speechssl resynth "$exp/units/test" --quiet \
      --mel-decoder "$decoder/mel_decoder" "${behind[@]}" "${options[@]}" -o "$exp/speech/$row"
  done
  copy_synthesis "$data/test" "$exp/speech/copy"
fi
if at_stage 4 "speech -> scores"; then
  for row in $rows; do
    made="$exp/speech/$row" input=("$exp/scores/regression.mel.json")
    case "$row" in real) made="$data/test" input=() ;; inverted) ;; *) input=("$exp/speech/$row") ;; esac
    # shellcheck disable=SC2086  # measures are options
    once "$exp/scores/$row.json" "$data" "${input[@]}" -- speechssl score speech "$data/test" "$made" $measures -o "$exp/scores/$row.json"
    heard "$row" "$made" "${input[@]}"
  done
fi
if at_stage 5 "scores -> table"; then ../../utils/speech_table.py "$exp/scores" "$rows"; fi
