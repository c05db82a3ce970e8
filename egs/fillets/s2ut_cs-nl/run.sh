#!/usr/bin/env bash
# Czech dialogues to Dutch units (the game Fish Fillets, 1,405 usable pairs of real speech); options: --help, or egs/utils/s2ut.sh.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
exec "$here/../../utils/s2ut.sh" --recipe "$here" --prepare "$here/../local/prepare_pairs.py" --say "$here/../local/prepare_spoken.py" --source cs --target nl \
  --packages "fillets-ng-data fillets-ng-data-cs fillets-ng-data-nl" "$@"
