"""Recorded sentences of one voice to Kaldi data dirs: train, valid and test, drawn by a hash of the recording's name.

What prepare_data.py of egs/kerstin/resynth and egs/ljspeech/resynth share; they find this file beside the others of
egs/utils. OUT/{train,valid,test} get wav.scp, text, utt2spk, spk2utt and utt2dur, OUT/audio the recordings as 16 kHz
WAV.
"""

import argparse
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from free_speech import RATE, Row, decoded
from kaldi_dir import write_dir

from speechssl.audio import probe

Find = Callable[[Path], tuple[list[Row], dict[str, str]]]


def main(find: Find, doc: str | None, *, table: str, corpus: str, valid: int, test: int) -> int:
    """Write the data dirs; 2 where there is no corpus, a line of its table has no recording, or it has too few.

    find: of the corpus's folder the recordings, and the text of every line of `table` by the name of its recording.
    valid, test: sentences of these parts by default.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--valid", type=int, default=valid, help="sentences")
    parser.add_argument("--test", type=int, default=test, help="sentences")
    parser.add_argument("--limit", type=int, default=0, help="at most so many training sentences (0: all)")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    if not (args.corpus / table).is_file():
        print(f"{args.corpus / table}: not there; --corpus must name the folder of {corpus}", file=sys.stderr)
        return 2
    found, texts = find(args.corpus)
    rows = [row for row in found if row.path.stem in texts]
    if len(rows) < len(texts) or len(rows) <= args.valid + args.test:
        print(f"{args.corpus}: {len(rows)} recordings for {len(texts)} lines of {table}; "
              f"{args.valid + args.test} of them are to be held out", file=sys.stderr)  # fmt: skip
        return 2
    drawn = sorted(rows, key=lambda row: zlib.crc32(row.path.stem.encode()))
    parts = {"test": drawn[: args.test], "valid": drawn[args.test :][: args.valid]}
    rest = drawn[args.test + args.valid :]
    parts["train"] = rest[: args.limit] if args.limit else rest
    with ProcessPoolExecutor() as pool:
        for name, part in parts.items():
            made = pool.map(partial(decoded, audio=args.out / "audio"), part, chunksize=8)
            said = {row.id: texts[row.path.stem] for row in part}
            save(args.out / name, list(made), said)
    return 0


def save(folder: Path, rows: list[Row], texts: dict[str, str]) -> None:
    """One data dir; texts by id."""
    write_dir(
        folder,
        {row.id: row.path.resolve() for row in rows},
        {row.id: row.speaker for row in rows},
        text={row.id: texts[row.id] for row in rows},
        utt2dur={row.id: f"{probe(row.path).num_frames / RATE:.4f}" for row in rows},
    )
