#!/usr/bin/env bash
# train.sh OBJECTIVE: one training of run.sh's stage 2, from the paper's settings and the small ones in conf/.
set -euo pipefail
. ../../utils/path.sh
. ../../utils/stages.sh
objective="$1" root="$(cd ../../.. && pwd)"
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
options=("run=$exp/$objective" "data.train=$data/train" "data.valid=$data/dev" "training.updates=$updates"
  "training.workers=$workers" "device=$device" "seed=$seed")
if [ ${#labels[@]} -gt 0 ]; then options+=("data.labels=${labels[0]}"); fi
if "$tiny"; then options+=(data.batching.seconds=20 training.log_every=2 training.valid_every=6); fi
case "$device" in cuda) options+=(training.precision=bf16) ;; esac
mkdir -p "$exp/logs"
for i in "${!files[@]}"; do files[i]="$PWD/${files[i]}"; done
once "$exp/$objective" "$data" "${files[@]}" "${labels[@]}" -- env -C "$root" python -m recipes.pretrain \
  "recipes/conf/$objective.toml" "${files[@]}" "${options[@]}" >"$exp/logs/$objective.log" 2>&1 ||
  { tail -n 20 "$exp/logs/$objective.log"; echo "$objective: failed" >&2; exit 1; }
tail -n 2 "$exp/logs/$objective.log"
