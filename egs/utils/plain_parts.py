#!/usr/bin/env python3
"""Kaldi data dirs for a recogniser: plain texts, and no text of one part in another.

plain_parts.py IN OUT [SIDE]

IN/{train,valid,test} have wav.scp, text and utt2spk, or their folders SIDE have, such as the target of parallel speech;
OUT/{train,valid,test} get the same and spk2utt, recordings stay where they are.
Texts become lower case without punctuation, but for apostrophes within words. What is said in test (letters and digits
alone are compared) is left out of valid and train, what is said in valid out of train; what has no letter or digit is
left out as well. All that is left out is counted.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kaldi_dir import write_dir
from parts import PARTS, plain, without_repeats

from speechssl.data.lines import read_table
from speechssl.errors import DataError
from speechssl.metrics.text_rules import TextRules

RULES = TextRules("lower", "remove")


def main(source: Path, out: Path, side: str = "") -> int:
    """Write the data dirs; 2 where a part would be empty or IN cannot be read."""
    folders = {part: source / part / side for part in PARTS}
    try:
        tables = {
            part: {file: table(folder / file) for file in ("wav.scp", "utt2spk", "text")}
            for part, folder in folders.items()
        }
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    texts = {part: {name: RULES(text) for name, text in tables[part]["text"].items()} for part in PARTS}
    spoken = {part: [(name, text) for name, text in texts[part].items() if plain(text)] for part in PARTS}
    kept, repeated = without_repeats(spoken, lambda row: {plain(row[1])})
    if empty := [part for part in PARTS if not kept[part]]:
        print(f"{folders[empty[0]]}: nothing is left of {len(texts[empty[0]])} texts", file=sys.stderr)
        return 2
    for part in PARTS:
        print(f"  {part}: {repeated[part]} left out that another part says, {len(texts[part]) - len(spoken[part])} "
              "without a letter")  # fmt: skip
        recordings, speakers = (
            {name: tables[part][file][name] for name, _ in kept[part]} for file in ("wav.scp", "utt2spk")
        )
        write_dir(out / part, {name: Path(path) for name, path in recordings.items()}, speakers, text=dict(kept[part]))
    return 0


def table(path: Path) -> dict[str, str]:
    """Lines `id value` of a file."""
    return {name: value for _, name, value in read_table(path, empty_ok=True)}


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
