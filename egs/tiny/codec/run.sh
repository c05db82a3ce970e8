#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# A small neural codec of free speech, on the CPU: trained, speech to codes and back, and a table of what that costs.
# usage: run.sh --corpora DIR [--option value ...]
#   --corpora DIR           as of ../ssl/run.sh: kerstin/ librispeech_subset/ speech_to_intent/ fsdd/, those that are there
#   --prompts DIR           as there;  --updates 2000  of 8 s of speech each;  --seed 0
#   --config FILE           recipes/conf/tiny_codec.toml, or another one
#   --gpus 0 (the CPU)  --workers 1  --data data  --exp exp  --tiny true (all stages in miniature)
#   --stage 0 --stop-stage 4
set -euo pipefail
corpora='' prompts='' updates=2000 seed=0 config='' gpus=0 workers=1 data=data exp=exp tiny=false stage=0 stop_stage=4
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if [ ! -d "$corpora" ]; then echo "$0: --corpora must name a folder, not '$corpora'" >&2; exit 2; fi
absolute corpora prompts config
cd "$(dirname "$0")"
. ../../utils/path.sh
config="${config:-$root/recipes/conf/tiny_codec.toml}"
limit=0 small=()
if "$tiny"; then
  updates=4 workers=0 limit=12 data="$data/tiny" exp="$exp/tiny"
  small=(data.batching.seconds=2 training.log_every=2 codec.encoder.channels=2 codec.decoder.num_blocks=1)
fi
# train ARGUMENT...: recipes.codec, a process for each GPU; one on the CPU
train() {
  local python
  python="$(dirname "$(command -v speechssl)")/python"
  export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
  if [ "$gpus" = 0 ]; then
    "$python" -m recipes.codec "$@"
  else
    "$python" -m torch.distributed.run --standalone --nproc-per-node "$gpus" -m recipes.codec 'device="cuda"' "$@"
  fi
}
# decode CODES MODEL OUT: its report in OUT.json
decode() {
  speechssl codec decode "$1" --model "$2" -o "$3" --json --quiet >"$3.json"
}

if at_stage 0 "$corpora -> $data/train, $data/valid"; then
  once "$data" ../ssl/local/prepare_data.py -- ../ssl/local/prepare_data.py --corpora "$corpora" \
    ${prompts:+--prompts "$prompts"} --limit "$limit" "$data"
fi
if at_stage 1 "$data -> $exp/codec"; then
  once "$exp/codec" "$data" "$config" -- train "$config" "run=\"$exp/codec\"" "data.train=\"$data/train\"" \
    "data.valid=\"$data/valid\"" "training.updates=$updates" "training.workers=$workers" "seed=$seed" "${small[@]}"
fi
if at_stage 2 "speech -> codes"; then
  once "$exp/codes" "$data" "$exp/codec" -- speechssl codec encode "$data/valid" --model "$exp/codec/codec" \
    --workers "$workers" --quiet -o "$exp/codes"
fi
if at_stage 3 "codes -> speech"; then
  once "$exp/again" "$exp/codes" "$exp/codec" -- decode "$exp/codes" "$exp/codec/codec" "$exp/again"
fi
if at_stage 4 "mel distance, SI-SDR, bit rate, speed -> table"; then local/table.py "$exp"; fi
