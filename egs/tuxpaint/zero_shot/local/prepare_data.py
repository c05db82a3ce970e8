#!/usr/bin/env python3
"""Tux Paint's spoken captions of pictures in nine languages, to Kaldi data dirs.

prepare_data.py STAMPS OUT [--languages "fr ro ..."] [--limit N]

STAMPS: the unpacked Debian package tuxpaint-stamps-default. A caption is NAME_desc_LANGUAGE.ogg, its text the line
`LANGUAGE.utf8=...` of NAME.txt.

OUT/LANGUAGE/{train,valid,test}  by pictures, the same in all languages, drawn by their names: 5 % valid, 20 % test.
                    wav.scp, text, utt2spk (one speaker a language: who speaks is not told), utt2lang, utt2picture
OUT/LANGUAGE/left_out.tsv  captions that are left out, and why: no text; digits or signs, of which nobody knows how the
                    speaker read them
OUT/audio           everything as 16 kHz WAV
"""

import argparse
import sys
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import Row, decoded
from kaldi_dir import write_dir

LANGUAGES = "fr ro ru ca bg es be el da"
UNREADABLE = set("$€£¢%&+=/*#@()[]<>0123456789")
PARTS = ("test",) * 4 + ("valid",) + ("train",) * 15


def main() -> int:
    """Write the data dirs; 2 where a language has no captions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stamps", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--languages", default=LANGUAGES)
    parser.add_argument("--limit", type=int, default=0, help="at most so many captions a language (0: all)")
    args = parser.parse_args()
    for language in args.languages.split():
        if not prepare(args.stamps, args.out, language, args.limit):
            print(f"{args.stamps}: no captions in {language}; --download true fetches them", file=sys.stderr)
            return 2
    return 0


def prepare(stamps: Path, out: Path, language: str, limit: int) -> int:
    """One language's data dirs; how many captions are used."""
    rows, texts, pictures, left_out = [], {}, {}, []
    for sound in sorted(stamps.rglob(f"*_desc_{language}.ogg")):
        name = sound.name.removesuffix(f"_desc_{language}.ogg")
        picture = "-".join((*sound.relative_to(stamps).parts[:-1], name)).split("stamps-", 1)[-1].replace(" ", "_")
        text = caption(sound.with_name(f"{name}.txt"), language)
        reason = fault(text)
        if reason:
            left_out.append(f"{picture}\t{reason}\t{text}\n")
            continue
        row = Row(f"{language}-{picture}", sound, language, language)
        rows.append(row)
        texts[row.id], pictures[row.id] = text, picture
    rows = rows[:: max(1, len(rows) // limit)][:limit] if limit else rows
    if not rows:
        return 0
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(partial(decoded, audio=out / "audio"), rows, chunksize=20))
    for part in dict.fromkeys(PARTS):
        own = [row for row in rows if part_of(pictures[row.id]) == part]
        write_dir(out / language / part, {row.id: row.path.resolve() for row in own}, {row.id: language for row in own},
                  text=texts, utt2lang={row.id: language for row in own}, utt2picture=pictures)  # fmt: skip
    (out / language / "left_out.tsv").write_text("".join(left_out), encoding="utf-8")
    counts = Counter(line.split("\t")[1].split(":")[0] for line in left_out)
    print(f"  {language}: {len(rows)} captions; left out: {dict(counts)}")
    return len(rows)


def caption(path: Path, language: str) -> str:
    """The text in a language, single spaces; empty where there is none."""
    if not path.is_file():
        return ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(f"{language}.utf8="):
            return " ".join(line.split("=", 1)[1].split())
    return ""


def fault(text: str) -> str:
    """Why a text cannot be used; empty where it can."""
    if not text:
        return "no text"
    return next((f"{sign!r}: nobody knows how it was read" for sign in text if sign in UNREADABLE), "")


def part_of(picture: str) -> str:
    """train, valid or test: drawn by the picture's name."""
    return PARTS[zlib.crc32(picture.encode()) % len(PARTS)]


if __name__ == "__main__":
    sys.exit(main())
