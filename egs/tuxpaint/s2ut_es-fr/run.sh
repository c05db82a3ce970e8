#!/usr/bin/env bash
# Spanish captions to French units (Tux Paint's stamps, 890 pairs of real speech); options: --help, or egs/utils/s2ut.sh.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
exec "$here/../../utils/s2ut.sh" --recipe "$here" --prepare "$here/../local/prepare_pairs.py" --say "$here/../local/prepare_spoken.py" --source es --target fr \
  --packages "tuxpaint-stamps-default" --conf "$here/conf/short.toml" "$@"
