#!/usr/bin/env python3
"""shared_words.py SESSIONS TEXT...: how many of an utterance's words stand in the one before it, and what chance gives.

SESSIONS has lines `session utterance utterance …` (sessions.py), TEXT is Kaldi's. Chance: another utterance of the same
speaker (what stands before the first _ of an id), drawn with seed 0. Rare words come ten times at the most in all.
"""

import random
import sys
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path


def main(sessions: str, *paths: str) -> None:
    texts: dict[str, list[str]] = {}
    for path in paths:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            name, *words = line.split(" ")
            texts[name] = words
    counts = Counter(word for words in texts.values() for word in words)
    speakers, draw = defaultdict(list), random.Random(0)
    for name in texts:
        speakers[name.partition("_")[0]].append(name)
    found = defaultdict(list)
    for line in Path(sessions).read_text(encoding="utf-8").splitlines():
        names = [name for name in line.split(" ")[1:] if name in texts]
        for before, name in pairwise(names):
            other = draw.choice(speakers[name.partition("_")[0]])
            for neighbour, kind in ((before, "before"), (other, "chance")):
                seen = set(texts[neighbour])
                found["words", kind] += [word in seen for word in texts[name]]
                found["rare words", kind] += [word in seen for word in texts[name] if counts[word] <= 10]
    for (what, kind), hits in sorted(found.items()):
        print(f"{what}, {kind}: {100 * sum(hits) / len(hits):.2f} % of {len(hits)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
