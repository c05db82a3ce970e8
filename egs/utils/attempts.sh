# shellcheck shell=bash
# attempts OUT SEED COMMAND...
#   Runs COMMAND seed=SEED, a training that writes into the folder OUT. Where it gives up (exit code 3, see
#   training.give_up) again with SEED + 1000, SEED + 2000 and so on, five times at most; the logs of those that gave up
#   stay as OUT/gave_up.N.jsonl. After an interruption it goes on with the attempt that was interrupted.
attempts() {
  local out="$1" seed="$2" number code
  shift 2
  for ((number = 0; number < 5; number++)); do
    if [ -e "$out/gave_up.$number.jsonl" ]; then continue; fi
    code=0
    "$@" "seed=$((seed + 1000 * number))" || code=$?
    if [ "$code" != 3 ]; then return "$code"; fi
    find "$out" -mindepth 1 -depth ! -name log.jsonl ! -name 'gave_up.*' -delete
    mv -- "$out/log.jsonl" "$out/gave_up.$number.jsonl"
  done
  return 3
}
