# shellcheck shell=bash
# librispeech OUT SUBSET...: a Kaldi data dir of these subsets of LibriSpeech; with download=true those that are missing in corpus
# are fetched. Needs stages.sh, and to be called from a folder beside egs/librispeech/units.
# shellcheck disable=SC2154  # corpus and download are options of the script
librispeech() {
  local out="$1"
  shift
  if "$download"; then ../units/local/download.py "$corpus" "$@"; fi
  kaldi_dir "$out" "${@/#/$corpus/}"
}

# kaldi_dir OUT FOLDER...: the same of any folders that are laid out as LibriSpeech's subsets are
kaldi_dir() {
  once "$1" ../units/local/prepare_data.py -- ../units/local/prepare_data.py "${@:2}" "$1"
}
