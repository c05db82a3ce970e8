#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# German sentences (Kerstin, CC0, 1.76 h, one voice) in noise: resynthesis from the continuous features of noisy speech as enhancement
# (AV2Wav, arXiv:2309.08030, without the lips). 40 sentences that were never trained on, as in ../resynth.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          Kerstin's corpus: metadata.csv and verified/*.opus, as seen from where you stand
#   --snr "10 5"          of the test's noise over its speech, dB: every row comes once for each
#   --noise FILE          a recording of noise (default: white noise); what decoders are trained with is coloured noise and babble
#   --decoders "..."      of clean (diffusion, trained on clean speech alone, as in the paper), diffusion, regression (trained with noise)
#   --recognizer DIR      a recogniser of German (../asr trains one): character error rates;  --measures "--dnsmos"  of speechssl score speech
#   --mel-vocoder DIR     a vocoder of these mels (../mel_vocoder trains one) in place of Griffin-Lim behind the decoders
#   --updates 2000        of each training;  --seconds 64  of speech in an update;  --steps 16  of a diffusion;  --device cpu  or cuda
#   --precision fp32  --seed 0  --workers 2  processes;  --data data --exp exp  folders;  --tiny true  a miniature;  --stage 0 --stop-stage 4
# Rows: the recording, Griffin-Lim of its own mels (what no decoder gets beyond), the vocoder of them (copy), in noise, and
# what the decoders make of that.
set -euo pipefail
corpus='' snr="10 5" noise='' decoders="clean diffusion regression" recognizer='' mel_vocoder='' measures="--dnsmos" updates=2000 seconds=64 steps=16
device=cpu precision=fp32 seed=0 workers=2 data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
. "$(dirname "$0")/../../utils/heard.sh"
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus noise recognizer mel_vocoder
. "$(dirname "$0")/../../utils/mel_vocoder.sh"
cd "$(dirname "$0")"
. ../../utils/path.sh
held_out=(--valid 20 --test 40) small=() recording=()
if [ -n "$noise" ]; then recording=(--noise-from "$noise"); fi
if "$tiny"; then
  updates=2 steps=2 seconds=2 workers=0 snr="${snr%% *}" measures="" data="$data/tiny" exp="$exp/tiny" held_out=(--valid 1 --test 2 --limit 6)
  small=(settings.decoder.dim=16 settings.decoder.ffn_dim=16 settings.decoder.num_layers=1 training.workers=0 data.batching.crop_s=1.0)
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# of_decoder NAME: the options of its training
of_decoder() {
  case "$1" in
    clean) told=(recipes/conf/mel_diffusion.toml) ;;
    diffusion) told=(recipes/conf/mel_enhancement.toml) ;;
    regression) told=(recipes/conf/mel_enhancement.toml kind=regression settings.decoder.says=noise) ;; # the default: nothing is said of it
    *) echo "$0: --decoders are of clean, diffusion and regression, not $1" >&2; exit 2 ;;
  esac
  told[0]="$root/${told[0]}"
}
rows="recording inverted $copy"
for db in $snr; do
  rows+=" noisy-$db"
  for decoder in $decoders; do rows+=" $decoder-$db"; done
done

if at_stage 0 "$corpus -> Kaldi data dirs, with noise"; then
  once "$data" ../resynth/local/prepare_data.py -- ../resynth/local/prepare_data.py --corpus "$corpus" "${held_out[@]}" "$data"
  for db in $snr; do
    once "$exp/speech/noisy-$db" "$data" -- speechssl data augment "$data/test" "$exp/speech/noisy-$db" --noise "$db" "${recording[@]}" \
      --seed "$seed" --workers "$workers"
  done
fi
if at_stage 1 "features, mels -> mel decoders"; then
  for decoder in $decoders; do
    of_decoder "$decoder"
    once "$exp/train/$decoder" "$data" -- python -m recipes.mel "${told[@]}" run="$exp/train/$decoder" seed="$seed" data.train="$data/train" \
      data.valid="$data/valid" device="$device" licence=CC0-1.0 training.updates="$updates" training.precision="$precision" \
      data.batching.seconds="$seconds.0" "${small[@]}"
  done
fi
if at_stage 2 "noisy speech -> features -> mels -> speech"; then
  once "$exp/speech/inverted" "$data" -- ../mel/local/mel_scores.py "$data/test" "$exp/train/${decoders%% *}/mel_decoder" "$exp/inverted.json" \
    --inverted "$exp/speech/inverted"
  copy_synthesis "$data/test" "$exp/speech/copy"
  for db in $snr; do
    for decoder in $decoders; do
      options=(--steps "$steps")
      if [ "$decoder" = regression ]; then options=(); fi
      once "$exp/speech/$decoder-$db" "$exp/train/$decoder" "$exp/speech/noisy-$db" "${vocoder_card[@]}" -- speechssl resynth \
        "$exp/speech/noisy-$db" --quiet --mel-decoder "$exp/train/$decoder/mel_decoder" "${behind[@]}" "${options[@]}" -o "$exp/speech/$decoder-$db"
    done
  done
fi
if at_stage 3 "speech -> scores"; then
  for row in $rows; do
    made="$exp/speech/$row" input=("$exp/speech/$row")
    if [ "$row" = recording ]; then made="$data/test" input=(); fi
    # shellcheck disable=SC2086  # measures are options
    once "$exp/scores/$row.json" "$data" "${input[@]}" -- speechssl score speech "$data/test" "$made" --no-f0 $measures -o "$exp/scores/$row.json"
    heard "$row" "$made" "${input[@]}"
  done
fi
if at_stage 4 "scores -> table"; then ../../utils/speech_table.py "$exp/scores" "$rows"; fi
