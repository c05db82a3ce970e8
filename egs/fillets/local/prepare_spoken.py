#!/usr/bin/env python3
"""Dialogues of Fish Fillets that one of two languages only has a recording of, the other said by espeak-ng.

prepare_spoken.py --corpus DIR --source cs --target nl --pairs PAIRS --train PAIRS/train [--limit N] OUT

PAIRS: what prepare_pairs.py made. OUT/{source,target}: the pairs of training and these; OUT/report.json: what was left
out and why. Lines that are in valid and test, in either language, are never said; other lines of their levels may be.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "utils"))

from dialogues import Clip, clips, lines
from spoken_pairs import Half, main


def find(corpus: Path, source: str, target: str) -> list[Half]:
    """Lines with a text in both languages, of which one is spoken."""
    languages = (source, target)
    spoken = [{(clip.level, clip.name): clip for clip in clips(corpus, language)} for language in languages]
    found = []
    for recorded, clip in ((side, clip) for side in (0, 1) for clip in spoken[side].values()):
        other = lines(script_of(clip, languages[1 - recorded])).get(clip.name)
        if (clip.level, clip.name) in spoken[1 - recorded] or clip.text is None or other is None:
            continue
        texts = (clip.text, other[0]) if recorded == 0 else (other[0], clip.text)
        found.append(Half(clip.id, recorded, clip.path, texts))
    return found


def script_of(clip: Clip, language: str) -> Path:
    """Where the clip's level has its texts in a language."""
    return clip.path.parents[3] / "script" / clip.level / f"dialogs_{language}.lua"


if __name__ == "__main__":
    sys.exit(main(find, __doc__))
