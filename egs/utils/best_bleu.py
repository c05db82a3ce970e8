#!/usr/bin/env python3
"""best_bleu.py NAME=SCORE ...: whose file, of speechssl score bleu, has the best BLEU, the first of equal ones."""

import json
import sys
from pathlib import Path


def main(*told: str) -> int:
    """Print it."""
    pairs = [entry.partition("=") for entry in told]
    print(max(pairs, key=lambda pair: json.loads(Path(pair[2]).read_text(encoding="utf-8"))["bleu"]["score"])[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
