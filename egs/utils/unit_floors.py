#!/usr/bin/env python3
"""What a translator must beat that has not listened: units of training, said of utterances of another part.

unit_floors.py TRAIN PART [--seed 0] [--texts TEXT] OUT

TRAIN and PART: output folders of speechssl units. OUT/frequent-NAME/units has the target of training that comes most
often for every utterance of PART; where none comes twice the one with the fewest edits to others, over 200 of them.
OUT/random-NAME/units has one of training for each, drawn by the seed. NAME: that of PART. Runs of one unit are merged.
TEXT: Kaldi's, of TRAIN: OUT/*/text has the texts of these targets.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from speechssl.data.lines import read_unique, write_lines
from speechssl.data.sequences import read_units
from speechssl.metrics.edits import edit_distance

MOST = 200


def main() -> int:
    """Write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("part", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    found = {name: tuple(units.tolist()) for name, units in read_units(args.train).of.items() if len(units)}
    if not found:
        print(f"{args.train}: no target of training has a unit", file=sys.stderr)
        return 2
    known, ids = list(found.values()), list(found)
    names = list(read_units(args.part).of)
    rng = np.random.default_rng(args.seed)
    drawn = rng.integers(len(known), size=len(names)).tolist()
    texts = None if args.texts is None else read_unique(args.texts, empty_ok=True)
    for floor, said in (("frequent", [known.index(frequent(known, rng))] * len(names)), ("random", drawn)):
        tables = {"units": [" ".join(map(str, known[row])) for row in said]}
        if texts is not None:
            tables["text"] = [texts.get(ids[row], "") for row in said]
        for file, values in tables.items():
            lines = [f"{name} {value}".rstrip() for name, value in zip(names, values, strict=True)]
            write_lines(args.out / f"{floor}-{args.part.name}" / file, lines)
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
