#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
# Czech or Dutch characters (dialogues of the game Fish Fillets, GPL-2): a recogniser on speechssl's own encoder, greedy and with a
# character n-gram.
# usage: run.sh --corpus DIR [--option value ...]
#   --corpus DIR          the unpacked Debian packages, as seen from where you stand; --download true fetches them into it
#   --language cs         or nl
#   --seeds "0 1 2"  --updates 400  of 80 s each;  --order 6  of the n-gram;  --beam 30
#   --device cpu  or cuda;  --precision fp32  --workers 2  processes;  --data data --exp exp  folders for data dirs and results
#   --tiny true           a miniature that ends within a minute or two and says nothing
#   --stage 0 --stop-stage 3
set -euo pipefail
corpus='' download=false language=cs seeds="0 1 2" updates=400 order=6 beam=30 device=cpu precision=fp32 workers=2
data=data exp=exp tiny=false stage=0 stop_stage=3
. "$(dirname "$0")/../../utils/parse_options.sh"
. "$(dirname "$0")/../../utils/stages.sh"
if "$download" && [ -n "$corpus" ]; then mkdir -p "$corpus"; fi
if [ ! -d "$corpus" ]; then echo "$0: --corpus must name a folder, not '$corpus'" >&2; exit 2; fi
absolute corpus data exp
cd "$(dirname "$0")"
. ../../utils/path.sh
. ../../utils/asr.sh
data="$data/$language" exp="$exp/$language" limit=0 small=() prepare=../local/prepare_data.py
if "$tiny"; then
  seeds=0 updates=2 order=2 beam=4 workers=0 data="$data/tiny" exp="$exp/tiny" limit=8
  small=(settings.freeze_updates=1 training.valid_every=1)
fi
parts="$data/plain"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

if at_stage 0 "$corpus -> Kaldi data dirs, plain texts"; then
  if "$download"; then ../../utils/debian_packages.sh "$corpus" "fillets-ng-data fillets-ng-data-cs fillets-ng-data-nl"; fi
  once "$data/read" "$prepare" -- "$prepare" --corpus "$corpus" --language "$language" --limit "$limit" "$data/read"
  once "$parts" "$data/read" ../../utils/plain_parts.py -- ../../utils/plain_parts.py "$data/read" "$parts"
fi
if at_stage 1 "train, valid -> recognisers"; then train_all; fi
if at_stage 2 "train -> n-gram; valid -> its weights; test -> texts"; then decode_all; fi
if at_stage 3 "texts -> errors"; then score_all; fi
