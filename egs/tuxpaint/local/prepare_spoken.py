#!/usr/bin/env python3
"""Captions of Tux Paint's stamps that one of two languages only has a recording of, the other said by espeak-ng.

prepare_spoken.py --corpus DIR --source es --target fr --pairs PAIRS --train PAIRS/train [--limit N] OUT

PAIRS: what prepare_pairs.py made. OUT/{source,target}: the pairs of training and these; OUT/report.json: what was left
out and why. Captions of valid and test, in either language, are never said.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "utils"))

from prepare_pairs import captions
from spoken_pairs import Half, main


def find(corpus: Path, source: str, target: str) -> list[Half]:
    """Pictures with a caption in both languages, of which one is spoken."""
    found = []
    for text in sorted(corpus.glob("**/stamps/**/*.txt")):
        clips = [text.with_name(f"{text.stem}_desc_{language}.ogg") for language in (source, target)]
        there = [clip.is_file() for clip in clips]
        texts = captions(text)
        if sum(there) != 1 or source not in texts or target not in texts:
            continue
        folders = text.parts[len(text.parts) - text.parts[::-1].index("stamps") : -1]
        recorded = there.index(True)
        found.append(Half("-".join((*folders, text.stem)), recorded, clips[recorded], (texts[source], texts[target])))
    return found


if __name__ == "__main__":
    sys.exit(main(find, __doc__))
