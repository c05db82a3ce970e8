#!/usr/bin/env python3
"""Kerstin's German sentences (CC0) to Kaldi data dirs: train, valid and test, drawn by a hash of the utterance's id.

prepare_data.py --corpus DIR [--valid 20] [--test 40] [--limit N] OUT

DIR has metadata.csv (`id|text`) and verified/ID.opus. OUT/{train,valid,test} get wav.scp, text, utt2spk, spk2utt and
utt2dur, OUT/audio the recordings as 16 kHz WAV. A line of the table without a recording is an error.
"""

import argparse
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import RATE, Row, decoded, kerstin
from kaldi_dir import write_dir

from speechssl.audio import probe


def main() -> int:
    """Write the data dirs; 2 where there is no corpus or it has too few sentences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--valid", type=int, default=20, help="sentences")
    parser.add_argument("--test", type=int, default=40, help="sentences")
    parser.add_argument("--limit", type=int, default=0, help="at most so many training sentences (0: all)")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    table = args.corpus / "metadata.csv"
    if not table.is_file():
        print(f"{table}: not there; --corpus must name the folder of Kerstin's corpus", file=sys.stderr)
        return 2
    texts = dict(line.split("|", 1) for line in table.read_text(encoding="utf-8").splitlines() if line)
    rows = [row for row in kerstin(args.corpus) if row.path.stem in texts]
    if len(rows) < len(texts) or len(rows) <= args.valid + args.test:
        print(f"{args.corpus}: {len(rows)} recordings for {len(texts)} lines of metadata.csv; "
              f"{args.valid + args.test} of them are to be held out", file=sys.stderr)  # fmt: skip
        return 2
    drawn = sorted(rows, key=lambda row: zlib.crc32(row.path.stem.encode()))
    parts = {"test": drawn[: args.test], "valid": drawn[args.test :][: args.valid]}
    rest = drawn[args.test + args.valid :]
    parts["train"] = rest[: args.limit] if args.limit else rest
    with ProcessPoolExecutor() as pool:
        for name, part in parts.items():
            save(args.out / name, list(pool.map(partial(decoded, audio=args.out / "audio"), part)), texts)
    return 0


def save(folder: Path, rows: list[Row], texts: dict[str, str]) -> None:
    """One data dir."""
    write_dir(
        folder,
        {row.id: row.path.resolve() for row in rows},
        {row.id: row.speaker for row in rows},
        text={row.id: texts[row.id.removeprefix("kerstin-")] for row in rows},
        utt2dur={row.id: f"{probe(row.path).num_frames / RATE:.4f}" for row in rows},
    )


if __name__ == "__main__":
    sys.exit(main())
