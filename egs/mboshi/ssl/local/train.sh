#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# train.sh OBJECTIVE: one training of run.sh's stage 2, from the paper's settings and the small ones in conf/.
set -euo pipefail
: "${exp:?run.sh sets it}" "${data:?run.sh sets it}" "${updates:?run.sh sets it}" "${workers:?run.sh sets it}" "${seed:?run.sh sets it}" "${tiny:?run.sh sets it}" "${device:?run.sh sets it}"
. ../../utils/path.sh
. ../../utils/stages.sh
. ../../utils/pretrain.sh
objective="$1"
case "$objective" in
  cpc* | wav2vec | vq_wav2vec*) files=(conf/common.toml conf/waveform.toml) ;;
  *) files=(conf/common.toml conf/mel.toml) ;;
esac
if [ -f "conf/$objective.toml" ]; then files+=("conf/$objective.toml"); fi
case "$objective" in
  hubert | wavlm) labels=("$exp/labels_mfcc") ;;
  hubert_iteration2) labels=("$exp/labels_hubert") ;;
  *) labels=() ;;
esac
options=("run=\"$exp/$objective\"" "data.train=\"$data/train\"" "data.valid=\"$data/dev\""
  "training.updates=$updates" "training.workers=$workers" "seed=$seed")
if [ ${#labels[@]} -gt 0 ]; then options+=("data.labels=\"${labels[0]}\""); fi
if [ "$objective" = cpc_modified ]; then options+=('training.precision="fp32"'); fi # its loss is not finite in bf16
if [ "$objective" = vq_wav2vec ]; then options+=("settings.gumbel_updates=$((updates * 7 / 10))"); fi
if "$tiny"; then options+=(data.batching.seconds=20 training.log_every=2 training.valid_every=6); fi
if [ "$device" = cuda ]; then gpus=1; else gpus=0; fi
mkdir -p "$exp/logs"
# shellcheck disable=SC2154  # root is set by path.sh
once "$exp/$objective" "$data" "${files[@]}" "${labels[@]}" -- pretrain "$gpus" "$root/recipes/conf/$objective.toml" \
  "${files[@]}" "${options[@]}" >"$exp/logs/$objective.log" 2>&1 ||
  { tail -n 20 "$exp/logs/$objective.log"; echo "$objective: failed" >&2; exit 1; }
tail -n 2 "$exp/logs/$objective.log"
