#!/usr/bin/env python3
"""sessions.py CORPUS OUT: which utterances of CORPUS/{train,dev} follow each other, a line `session utterance …` each.

Mboshi was elicited session by session, a dictionary's examples from its first word to its last, and an id is
its session's name and a number. Neighbours lie in train or dev alike, and are used as recordings, without their texts.
"""

import re
import sys
from pathlib import Path


def main(corpus: str, out: str) -> int:
    sessions: dict[str, list[tuple[int, str]]] = {}
    for split in ("train", "dev"):
        for line in Path(corpus, split, "text").read_text(encoding="utf-8").splitlines():
            name = line.partition(" ")[0]
            session, number = re.fullmatch(r"(.*?)(\d*)", name).groups()
            sessions.setdefault(session, []).append((int(number or 0), name))
    lines = [" ".join([session, *(name for _, name in sorted(rows))]) for session, rows in sorted(sessions.items())]
    Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"  {out}: {sum(map(len, sessions.values()))} utterances in {len(lines)} sessions")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
