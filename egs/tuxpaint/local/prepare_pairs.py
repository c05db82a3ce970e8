#!/usr/bin/env python3
"""Spoken captions of Tux Paint's stamps in two languages to Kaldi data dirs of parallel speech.

prepare_pairs.py --corpus DIR --source es --target fr [--held-out 0.1] [--seed 0] [--limit N] OUT

--corpus: the Debian package tuxpaint-stamps-default, unpacked. A pair is a picture with NAME_desc_LANGUAGE.ogg in both
languages; texts are the lines LANGUAGE.utf8= of NAME.txt. A caption is in one part, whatever pictures have it:
OUT/{train,valid,test}/{source,target}. Who speaks is not told.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "utils"))

from speech_pairs import Pair, main, plain


def find(corpus: Path, source: str, target: str) -> tuple[list[Pair], int]:
    """Pairs, and how many pictures are spoken of in both languages but have no text."""
    pairs, untold = [], 0
    for clip in sorted(corpus.glob(f"**/stamps/**/*_desc_{source}.ogg")):
        stem = clip.name.removesuffix(f"_desc_{source}.ogg")
        other = clip.with_name(f"{stem}_desc_{target}.ogg")
        if not other.is_file():
            continue
        texts = captions(clip.with_name(f"{stem}.txt"))
        if source not in texts or target not in texts:
            untold += 1
            continue
        folders = clip.parts[len(clip.parts) - clip.parts[::-1].index("stamps") : -1]
        said, translated = texts[source], texts[target]
        pairs.append(Pair("-".join((*folders, stem)), plain(said), "unknown", (clip, other), (said, translated)))
    return pairs, untold


def captions(path: Path) -> dict[str, str]:
    """The captions of a picture by language."""
    if not path.is_file():
        return {}
    rows = (line.partition(".utf8=") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {language: text.strip() for language, _, text in rows if text.strip()}


if __name__ == "__main__":
    sys.exit(main(find, __doc__, source="es", target="fr", packages="package tuxpaint-stamps-default"))
