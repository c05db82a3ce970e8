#!/usr/bin/env python3
"""CVSS-C (arXiv:2201.03713) to Kaldi data dirs of parallel speech: Common Voice's sentences, and these in English.

prepare_pairs.py --corpus DIR --source es --target en [--limit N] OUT

--corpus: Common Voice 4 as it is unpacked (*/LANGUAGE/validated.tsv and clips/NAME.mp3) and CVSS-C
(cvss_c_LANGUAGE_en*/{train,dev,test}.tsv, lines `NAME.mp3 TAB text`, and {train,dev,test}/NAME.mp3.wav). Parts are the
corpus's own: sentences that two of them have stay, and are counted.
"""

import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from speech_pairs import Pair, main

from speechssl.data.lines import read_lines
from speechssl.errors import DataError

PARTS = {"train": "train", "dev": "valid", "test": "test"}


def find(corpus: Path, source: str, target: str) -> tuple[list[Pair], int]:
    """Pairs, and how many translations there are of clips that Common Voice's table lacks."""
    if target != "en":
        raise DataError(f"--target {target}: CVSS translates into English (en) alone")
    voices = only(corpus, f"*/{source}/validated.tsv", f"Common Voice 4 in {source}").parent
    translated = only(corpus, f"cvss_c_{source}_en*/train.tsv", f"CVSS-C of {source}").parent
    with open(voices / "validated.tsv", encoding="utf-8", newline="") as file:
        clips = {row["path"]: row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    pairs, lost = [], 0
    for name, part in PARTS.items():
        for number, line in read_lines(translated / f"{name}.tsv"):
            clip, tab, text = line.partition("\t")
            if not tab:
                raise DataError(f"{translated / name}.tsv:{number}: no tab between clip and text: {line[:60]!r}")
            if clip not in clips:
                lost += 1
                continue
            row = clips[clip]
            pairs.append(Pair(clip.removesuffix(".mp3"), clip, row["client_id"],
                              (voices / "clips" / clip, translated / name / f"{clip}.wav"),
                              (row["sentence"], text), part))  # fmt: skip
    return pairs, lost


def only(corpus: Path, pattern: str, what: str) -> Path:
    """The one file of a pattern. DataError for none or several."""
    found = sorted(corpus.glob(pattern))
    if len(found) != 1:
        raise DataError(f"{corpus}/{pattern}: {len(found)} such files, one is wanted: unpack {what} there")
    return found[0]


if __name__ == "__main__":
    sys.exit(main(find, __doc__, source="es", target="en", packages="Common Voice 4 and CVSS-C", repeats_stay=True))
