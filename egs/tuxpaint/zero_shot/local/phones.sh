#!/usr/bin/env bash
# phones.sh CAPTIONS OUT: the texts of CAPTIONS/LANGUAGE/PART as phones, OUT/LANGUAGE/PART; OUT/LANGUAGE/PART.log says what is left out.
# Length is dropped: of the nine languages none tells words apart by it in espeak's phones but Danish, and that seldom.
set -euo pipefail
: "${languages:?run.sh sets it}"
for language in $languages; do
  case "$language" in fr) voice=fr-fr ;; *) voice="$language" ;; esac
  for part in train valid test; do
    code=0
    mkdir -p "$2/$language"
    if [ -d "$2/$language/$part" ]; then continue; fi
    speechssl data phones "$1/$language/$part" "$2/$language/$part" --language "$voice" --length drop >"$2/$language/$part.log" || code=$?
    if [ "$code" -gt 1 ]; then exit "$code"; fi
    tail -n 1 "$2/$language/$part.log"
  done
done
