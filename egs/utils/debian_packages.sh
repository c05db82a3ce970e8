#!/usr/bin/env bash
# debian_packages.sh DIR "PACKAGE ...": Debian's packages, unpacked into DIR; needs apt-get and dpkg, but no root.
set -euo pipefail
cd "$1"
for package in $2; do
  if [ -e "$package.done" ]; then continue; fi
  apt-get download "$package"
  dpkg -x "$package"_*.deb .
  rm "$package"_*.deb
  touch "$package.done"
done
