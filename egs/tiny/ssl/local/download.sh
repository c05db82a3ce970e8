#!/usr/bin/env bash
# download.sh DIR: Debian's packages of prompts in five languages and of a Russian voice, unpacked into DIR.
set -euo pipefail
cd "$1"
for package in asterisk-core-sounds-{en,fr,es,it,ru}-g722 festvox-ru; do
  if [ -e "$package.done" ]; then continue; fi
  apt-get download "$package"
  dpkg -x "$package"_*.deb .
  rm "$package"_*.deb
  touch "$package.done"
done
