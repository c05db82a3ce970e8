#!/usr/bin/env bash
# pairs.sh DATA REFERENCE "VOICE ..." OUT: the recordings of these voices in a Kaldi data dir of ids VOICE-PROMPT, and
# utt2content, which says that each has the reference's units of its prompt.
set -euo pipefail
data="$1" reference="$2" voices="$3" out="$4"
mkdir -p "$out"
for table in wav.scp utt2spk; do
  awk -v voices=" $voices " '{ voice = $1; sub(/-.*/, "", voice); if (index(voices, " " voice " ")) print }' "$data/$table" >"$out/$table"
done
awk -v reference="$reference" '{ content = $1; sub(/^[^-]*/, reference, content); print $1, content }' "$out/wav.scp" >"$out/utt2content"
