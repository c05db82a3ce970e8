# shellcheck shell=bash
# speechssl of the active environment, or else of the checkout's own .venv.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
if ! command -v speechssl >/dev/null && [ -x "$root/.venv/bin/speechssl" ]; then export PATH="$root/.venv/bin:$PATH"; fi
command -v speechssl >/dev/null || { echo "speechssl is not installed: make -C $root .venv/demo.stamp" >&2; exit 2; }
# Threads that wait leave the cores to others.
export LC_ALL=C PYTHONUNBUFFERED=1 OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
