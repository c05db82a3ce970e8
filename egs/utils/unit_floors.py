#!/usr/bin/env python3
"""What a translator must beat that has not listened: units of training, said of utterances of another part.

unit_floors.py TRAIN PART [--seed 0] OUT

TRAIN and PART: output folders of speechssl units. OUT/frequent-NAME/units has the target of training that comes most
often for every utterance of PART; where none comes twice the one with the fewest edits to others, over 200 of them.
OUT/random-NAME/units has one of training for each, drawn by the seed. NAME: that of PART. Runs of one unit are merged.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from speechssl.data.sequences import read_units
from speechssl.metrics.edits import edit_distance

MOST = 200


def main() -> int:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("part", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    known = [tuple(units.tolist()) for units in read_units(args.train).of.values() if len(units)]
    names = list(read_units(args.part).of)
    rng = np.random.default_rng(args.seed)
    drawn = [known[row] for row in rng.integers(len(known), size=len(names))]
    for floor, said in (("frequent", [frequent(known, rng)] * len(names)), ("random", drawn)):
        folder = args.out / f"{floor}-{args.part.name}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{name} {' '.join(map(str, units))}\n" for name, units in zip(names, said, strict=True)]
        (folder / "units").write_text("".join(lines), encoding="utf-8")
    return 0


def frequent(known: list[tuple[int, ...]], rng: np.random.Generator) -> tuple[int, ...]:
    """The most frequent sequence; where none comes twice the most central one."""
    units, count = Counter(known).most_common(1)[0]
    if count > 1:
        return units
    some = [np.array(known[row]) for row in rng.permutation(len(known))[:MOST]]
    edits = [sum(edit_distance(one, other) / max(len(one), len(other)) for other in some) for one in some]
    return tuple(some[int(np.argmin(edits))].tolist())


if __name__ == "__main__":
    sys.exit(main())
