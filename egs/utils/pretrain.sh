# shellcheck shell=bash
# pretrain GPUS ARGUMENT...: recipes.pretrain with these arguments, a process for each GPU, in bf16 unless they say
# otherwise; 0: one process on the CPU.
# shellcheck disable=SC2154  # root is set by path.sh
pretrain() {
  local gpus="$1" python
  shift
  python="$(dirname "$(command -v speechssl)")/python"
  if [ "$gpus" = 0 ]; then
    PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" "$python" -m recipes.pretrain "$@"
  else
    PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" "$python" -m torch.distributed.run --standalone \
      --nproc-per-node "$gpus" -m recipes.pretrain 'device="cuda"' 'training.precision="bf16"' "$@"
  fi
}
