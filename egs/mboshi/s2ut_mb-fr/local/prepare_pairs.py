#!/usr/bin/env python3
"""Mboshi speech and its French translations, said by espeak-ng, to Kaldi data dirs of parallel speech.

prepare_pairs.py --corpus DIR --source mb --target fr [--limit N] OUT

--corpus: the Mboshi folder (train/ dev/ utterances.tsv). The corpus's dev is the test; a twentieth of what train says
in French is the validation, drawn by the sentence; a sentence of one part leaves the others. Needs espeak-ng (pip
install 'speechssl[phones]'): a robot's voice, and not the same twice.
"""

import csv
import html
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "units" / "local"))

from prepare_data import find_audio
from said import Said
from speech_pairs import Pair, main, plain

from speechssl.errors import DataError


def find(corpus: Path, source: str, target: str) -> tuple[list[Pair], int]:
    """Pairs, and how many utterances have no translation."""
    if (source, target) != ("mb", "fr"):
        raise DataError(f"--source {source} --target {target}: the corpus has mb and its translations, fr")
    table = corpus / "utterances.tsv"
    if not table.is_file():
        raise DataError(f"{table}: no such file; --corpus must name the Mboshi folder")
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    pairs = []
    for row in rows:
        french = html.unescape(row["french"])
        if said := plain(french):
            part = "test" if row["split"] == "dev" else "train" if zlib.crc32(said.encode()) % 20 else "valid"
            recording = find_audio(corpus / row["split"], row["utt_id"])
            pairs.append(Pair(row["utt_id"], said, row["speaker"], (recording, Said(french, target)),
                              (row["mboshi"], french), part))  # fmt: skip
    return pairs, len(rows) - len(pairs)


if __name__ == "__main__":
    sys.exit(main(find, __doc__, source="mb", target="fr", packages="Mboshi corpus"))
