#!/usr/bin/env python3
"""letters.py OUT: the papers' vocabulary, whatever labels hold: blank, | between words, the apostrophe, A to Z."""

import string
import sys
from pathlib import Path

from speechssl.decoders import vocabulary

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    vocabulary.of_characters([string.ascii_uppercase + "'"]).save(Path(sys.argv[1]))
