#!/usr/bin/env python3
"""score.py REFERENCE HYPOTHESES OUT.json: character and word error rates of two Kaldi texts.

Both sides: NFC, single spaces; nothing else is normalised, so tones and vowel marks count. Spaces are characters. An
utterance without a hypothesis is one with an empty text, and is counted as missing.
"""

import json
import sys
import unicodedata
from pathlib import Path

from rapidfuzz.distance import Levenshtein


def read(path: str) -> dict[str, str]:
    rows = (line.partition(" ") for line in Path(path).read_text(encoding="utf-8").splitlines())
    return {key: " ".join(unicodedata.normalize("NFC", text).split()) for key, _, text in rows}


def main(reference: str, hypotheses: str, out: str) -> int:
    wanted, written = read(reference), read(hypotheses)
    if not wanted or set(written) - set(wanted):
        print(f"{hypotheses}: {len(set(written) - set(wanted))} utterances are not in {reference}", file=sys.stderr)
        return 2
    totals = {"characters": 0, "character_errors": 0, "words": 0, "word_errors": 0}
    for key, text in wanted.items():
        found = written.get(key, "")
        totals["characters"] += len(text)
        totals["character_errors"] += Levenshtein.distance(text, found)
        totals["words"] += len(text.split())
        totals["word_errors"] += Levenshtein.distance(text.split(), found.split())
    missing = len(set(wanted) - set(written))
    rates = {
        "cer": totals["character_errors"] / totals["characters"],
        "wer": totals["word_errors"] / totals["words"],
        "utterances": len(wanted),
        "missing": missing,
    }
    Path(out).write_text(json.dumps(rates | totals, indent=2) + "\n", encoding="utf-8")
    print(f"{Path(out).stem}: CER {100 * rates['cer']:.1f} %, WER {100 * rates['wer']:.1f} %, {missing} missing")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
