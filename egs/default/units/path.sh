# shellcheck shell=bash
# Put the checkout's own environment first, where there is one.
root="$(cd ../../.. && pwd)"
if [ -x "$root/.venv/bin/speechssl" ]; then PATH="$root/.venv/bin:$PATH"; fi
export PATH
