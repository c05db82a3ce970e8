#!/usr/bin/env bash
# french.sh IN OUT: the data dir IN with the French translations for its texts; their &apos; &quot; &amp; are the characters.
set -euo pipefail
rm -rf -- "$2"
mkdir -p "$2"
cp -- "$1/wav.scp" "$1/utt2spk" "$2"
sed "s/&apos;/'/g; s/&quot;/\"/g; s/&amp;/\&/g" "$1/translation" >"$2/text"
