#!/usr/bin/env python3
"""letters.py IN OUT: a Kaldi text in small letters, with everything that is neither letter, apostrophe nor hyphen gone.

NFC. A hyphen between letters stays; utterances that have no letter at all are an error.
"""

import re
import sys
import unicodedata
from pathlib import Path

_NO_LETTERS = re.compile(r"[^\w'-]|[\d_]")
_LONE = re.compile(r"(?<!\w)['-]+|['-]+(?!\w)")


def letters(text: str) -> str:
    """The words of a text as they are scored."""
    found = unicodedata.normalize("NFC", text).lower().replace("\u2019", "'")
    return " ".join(_LONE.sub(" ", _NO_LETTERS.sub(" ", found)).split())


def main(source: str, target: str) -> int:
    rows = []
    for line in Path(source).read_text(encoding="utf-8").splitlines():
        key, _, text = line.partition(" ")
        words = letters(text)
        if not words:
            print(f"{source}: {key} has no letters: {text!r}", file=sys.stderr)
            return 2
        rows.append(f"{key} {words}\n")
    Path(target).write_text("".join(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 3 else __doc__)
