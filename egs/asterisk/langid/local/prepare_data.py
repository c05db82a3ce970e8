#!/usr/bin/env python3
"""Asterisk's prompts in five languages, and other speech in two of them, to Kaldi data dirs.

prepare_data.py --prompts DIR [--corpora DIR] [--seeds "0 1 2"] [--transfer N] [--limit N] OUT

--prompts: unpacked Debian packages asterisk-core-sounds-{en,fr,es,it,ru}-g722 and festvox-ru; --corpora: the folder
with librispeech_subset/ and speech_to_intent/. G.722 needs PyAV (pip install av).
Only prompts that all languages have are taken: languages are equally frequent, and what is said plays no part.

OUT/prompts         all of them, with utt2lang and utt2prompt
OUT/sSEED/{train,test}  a quarter of the prompts is the test, in all languages, drawn by the seed; with same_voice:
                    lines `utterance language` of the languages that one person speaks (Allison Smith: en, es)
OUT/transfer        at most N utterances of each other corpus, with utt2lang and utt2corpus
OUT/audio           everything as 16 kHz WAV
"""

import argparse
import sys
import zlib
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import PROMPT_LANGUAGES, Row, asterisk, decoded, festvox, librispeech, speech_to_intent, write


def main() -> int:
    """Write the data dirs; 2 where there are no prompts in all languages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--transfer", type=int, default=200)
    parser.add_argument("--limit", type=int, default=0, help="at most so many prompts (0: all)")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    by_prompt = defaultdict(list)
    for row in asterisk(args.prompts):
        by_prompt[prompt(row)].append(row)
    shared = sorted(name for name, rows in by_prompt.items() if len(rows) == len(PROMPT_LANGUAGES))
    if len(shared) < 4:
        print(f"{args.prompts}: {len(shared)} prompts that all of {', '.join(sorted(PROMPT_LANGUAGES.values()))} have; "
              "--download true fetches them", file=sys.stderr)  # fmt: skip
        return 2
    shared = spread(shared, args.limit)
    rows = save(args.out / "prompts", [row for name in shared for row in by_prompt[name]], args.out / "audio")
    table(args.out / "prompts" / "utt2prompt", {row.id: prompt(row) for row in rows})
    for seed in args.seeds.split():
        drawn = sorted(shared, key=lambda name: zlib.crc32(f"{seed} {name}".encode()))[: len(shared) // 4]
        for part, inside in (("train", False), ("test", True)):
            own = [row for row in rows if (prompt(row) in set(drawn)) == inside]
            write(args.out / f"s{seed}" / part, own)
            table(args.out / f"s{seed}" / part / "same_voice", {row.id: row.language for row in of_one_voice(own)})
    others = {"festvox_ru": list(festvox(args.prompts))}
    if args.corpora is not None:
        others["librispeech"] = list(librispeech(args.corpora / "librispeech_subset"))
        others["speech_to_intent"] = list(speech_to_intent(args.corpora / "speech_to_intent"))
    corpora = {row.id: (name, row) for name, own in others.items() for row in spread(own, args.transfer)}
    save(args.out / "transfer", [row for _, row in corpora.values()], args.out / "audio")
    table(args.out / "transfer" / "utt2corpus", {name: corpus for name, (corpus, _) in corpora.items()})
    return 0


def prompt(row: Row) -> str:
    """What is said: the id without its voice."""
    return row.id.removeprefix(row.speaker).removeprefix("-")


def of_one_voice(rows: list[Row]) -> list[Row]:
    """Those of a person who speaks several languages; a voice is named LANGUAGE_SEX_PERSON."""
    languages = defaultdict(set)
    for row in rows:
        languages[row.speaker.split("_")[-1]].add(row.language)
    return [row for row in rows if len(languages[row.speaker.split("_")[-1]]) > 1]


def spread(items: list, most: int) -> list:
    """At most so many, from all over the list; all where `most` is 0."""
    return items[:: max(1, len(items) // most)][:most] if most else items


def save(folder: Path, rows: list[Row], audio: Path) -> list[Row]:
    """A data dir of recordings as WAV."""
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(partial(decoded, audio=audio), rows, chunksize=20))
    write(folder, rows)
    return rows


def table(path: Path, values: dict[str, str]) -> None:
    """`utterance value` lines, sorted as Kaldi wants it."""
    lines = [f"{name} {value}\n" for name, value in sorted(values.items(), key=lambda item: item[0].encode())]
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
