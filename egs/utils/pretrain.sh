# shellcheck shell=bash
# on_gpus GPUS RECIPE ARGUMENT...: recipes.RECIPE with these arguments, a process for each GPU, in bf16 unless they say
# otherwise; 0: one process on the CPU.
# shellcheck disable=SC2154  # root is set by path.sh
on_gpus() {
  local gpus="$1" recipe="recipes.$2" python
  shift 2
  python="$(dirname "$(command -v speechssl)")/python"
  if [ "$gpus" = 0 ]; then
    PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" "$python" -m "$recipe" "$@"
  else
    PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" "$python" -m torch.distributed.run --standalone \
      --nproc-per-node "$gpus" -m "$recipe" 'device="cuda"' 'training.precision="bf16"' "$@"
  fi
}

# pretrain GPUS ARGUMENT...: recipes.pretrain
pretrain() { on_gpus "$1" pretrain "${@:2}"; }

# goes_on GPUS OUT CORPUS LABELS UPDATES ENCODER ARGUMENT...: an encoder after so many updates more, of the built-in one's objective
goes_on() {
  pretrain "$1" "$root/recipes/conf/hubert.toml" "$root/egs/tiny/ssl/conf/tiny.toml" "run=\"$2\"" "data.train=\"$3\"" "data.labels=\"$4\"" \
    "training.updates=$5" "encoder={checkpoint=\"$6\"}" "${@:7}"
}
