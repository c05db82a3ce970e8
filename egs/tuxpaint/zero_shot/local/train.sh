#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR/..
# train.sh NAME: a recogniser of the phones of all languages but NAME (es, or es+fr: both), exp/NAME/recognizer.
set -euo pipefail
: "${data:?run.sh sets it}" "${exp:?}" "${languages:?}" "${encoder:?}" "${updates:?}" "${seconds:?}" "${freeze:?}" "${device:?}" "${precision:?}" "${workers:?}"
. ../../utils/path.sh
. ../../utils/stages.sh
name="$1"
for part in train valid; do
  folder="$data/joint/$name/$part"
  mkdir -p "$folder"
  for table in wav.scp utt2spk text utt2lang; do
    for language in $languages; do
      case "+$name+" in *"+$language+"*) ;; *) cat "$data/phones/$language/$part/$table" ;; esac
    done | sort >"$folder/$table"
  done
done
mkdir -p "$exp/logs"
export PYTHONPATH="${root:?}${PYTHONPATH:+:$PYTHONPATH}"
once "$exp/$name" "$data/phones" "$root/recipes/conf/tiny_ctc.toml" -- python -m recipes.ctc "$root/recipes/conf/tiny_ctc.toml" \
  "encoder={checkpoint=\"$encoder\"}" "run=\"$exp/$name\"" "data.train=\"$data/joint/$name/train\"" "data.valid=\"$data/joint/$name/valid\"" \
  vocabulary.kind=phones "data.batching.seconds=$seconds" "settings.freeze_updates=$freeze" optimizer.encoder_factor=1.0 \
  "training.updates=$updates" "training.precision=$precision" "training.workers=$workers" "device=\"$device\"" \
  >"$exp/logs/$name.log" 2>&1 || { tail -n 20 "$exp/logs/$name.log"; echo "$name: failed" >&2; exit 255; }
tail -n 2 "$exp/logs/$name.log"
