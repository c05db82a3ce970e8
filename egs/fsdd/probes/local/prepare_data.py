#!/usr/bin/env python3
"""The Free Spoken Digit Dataset to Kaldi data dirs: OUT/{train,test,all} with wav.scp, utt2spk, spk2utt, utt2digit.

prepare_data.py CORPUS OUT [--limit N]

Recordings are CORPUS/recordings/DIGIT_SPEAKER_INDEX.flac (or .wav); those of index 0 to 4 are the official test part. 8
kHz; speechssl resamples as it reads. --limit: at most so many of each digit and speaker, in train and in test.
"""

import argparse
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from kaldi_dir import write_dir

NAME = re.compile(r"(\d)_([a-z]+)_(\d+)")
NUM_TEST = 5  # index 0 to 4


@dataclass(frozen=True)
class Row:
    """One spoken digit."""

    digit: str
    speaker: str
    index: int
    path: Path

    @property
    def id(self) -> str:
        """The speaker comes first, as Kaldi's sorting wants it."""
        return f"{self.speaker}-{self.digit}-{self.index:02}"

    @property
    def part(self) -> str:
        """Where it belongs."""
        return "test" if self.index < NUM_TEST else "train"


def main() -> int:
    """Write the data dirs; 2 where there is nothing to write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--limit", type=int, default=0)
    args = parser.parse_args()
    paths = [path for path in args.corpus.glob("recordings/*") if path.suffix in (".flac", ".wav")]
    if not paths:
        print(f"{args.corpus}: no recordings/*.flac or *.wav there; --corpus must name FSDD's folder", file=sys.stderr)
        return 2
    cells = defaultdict(list)
    for row in sorted(map(read_name, paths), key=lambda row: row.id):
        cells[row.part, row.digit, row.speaker].append(row)
    rows = [row for own in cells.values() for row in (own[: args.limit] if args.limit else own)]
    for part in ("train", "test", "all"):
        own = [row for row in rows if part in (row.part, "all")]
        write_dir(args.out / part, {row.id: row.path for row in own}, {row.id: row.speaker for row in own},
                  utt2digit={row.id: row.digit for row in own})  # fmt: skip
    return 0


def read_name(path: Path) -> Row:
    """What a file's name says."""
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise SystemExit(f"{path}: not named DIGIT_SPEAKER_INDEX")
    return Row(match[1], match[2], int(match[3]), path.resolve())


if __name__ == "__main__":
    sys.exit(main())
