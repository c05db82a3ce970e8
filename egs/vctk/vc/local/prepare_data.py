#!/usr/bin/env python3
"""VCTK (CC BY 4.0, about 110 English speakers) to Kaldi data dirs: what everybody reads is held out.

prepare_data.py --corpus DIR [--voices "p225 p226"] [--held-out 5] [--valid 1] [--limit N] OUT

DIR is VCTK-Corpus-0.92 (wav48_silence_trimmed/SPEAKER/SPEAKER_NUMBER_mic1.flac, of the two microphones the first) or
0.80 (wav48/SPEAKER/SPEAKER_NUMBER.wav), both with txt/SPEAKER/SPEAKER_NUMBER.txt. Sentences 001 to 024 are the same for
everybody; the last --held-out of them are the test, and nobody's are learned from. Recordings without a text (p315's)
are left out and counted.

OUT/train, OUT/valid   everybody; of each speaker's other sentences the first --valid by a hash of their ids are valid
OUT/test/VOICE         the held-out sentences of --voices that all of these have with the same text; ids are numbers
OUT/audio              everything as 16 kHz WAV
"""

import argparse
import sys
import zlib
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from free_speech import Row, decoded
from kaldi_dir import write_dir

COMMON = 24  # sentences that everybody reads
LAYOUTS = (("wav48_silence_trimmed", "_mic1.flac"), ("wav48", ".wav"))


def main() -> int:
    """Write the data dirs; 2 where there is no corpus, or a voice lacks sentences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--voices", default="p225 p226", help="speakers that are converted to one another")
    parser.add_argument("--held-out", type=int, default=5, help="sentences of the test, of those that everybody reads")
    parser.add_argument("--valid", type=int, default=1, help="sentences of each speaker")
    parser.add_argument("--limit", type=int, default=0, help="at most so many training sentences of each (0: all)")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    spoken, untold = recordings(args.corpus)
    voices = args.voices.split()
    if not spoken or (missing := [voice for voice in voices if voice not in spoken]):
        folders = " or ".join(folder for folder, _ in LAYOUTS)
        what = f"no speaker {missing[0]}" if spoken else f"no recordings with texts in {folders}"
        print(f"{args.corpus}: {what}; --corpus must name the folder of VCTK", file=sys.stderr)
        return 2
    held_out = {f"{number:03}" for number in range(COMMON - args.held_out + 1, COMMON + 1)}
    same = parallel(spoken, voices, held_out)
    if not same:
        print(f"{args.corpus}: {args.voices} have no held-out sentence in common", file=sys.stderr)
        return 2
    print(f"  {len(spoken)} speakers, {untold} recordings without a text, {len(same)} sentences of the test")
    learned: dict[str, dict[str, tuple[Path, str]]] = {"train": {}, "valid": {}}
    for sentences in spoken.values():
        rest = [name for name, (path, _) in sentences.items() if number_of(path) not in held_out]
        drawn = sorted(rest, key=lambda name: zlib.crc32(name.encode()))
        own = drawn[args.valid :]
        for part, names in (("valid", drawn[: args.valid]), ("train", own[: args.limit] if args.limit else own)):
            learned[part] |= {name: sentences[name] for name in names}
    with ProcessPoolExecutor() as pool:
        for part, rows in learned.items():
            save(args.out, part, rows, pool)
        for voice in voices:
            tested = {name: found for name, found in spoken[voice].items() if number_of(found[0]) in same}
            save(args.out, f"test/{voice}", tested, pool, by_number=True)
    return 0


def recordings(corpus: Path) -> tuple[dict[str, dict[str, tuple[Path, str]]], int]:
    """Of each speaker recordings and texts by id, SPEAKER_NUMBER; how many have no text."""
    found: dict[str, dict[str, tuple[Path, str]]] = defaultdict(dict)
    untold = 0
    for folder, ending in LAYOUTS:
        for path in sorted(corpus.glob(f"{folder}/*/*{ending}")):
            name, speaker = path.name.removesuffix(ending), path.parent.name
            text = corpus / "txt" / speaker / f"{name}.txt"
            if text.is_file():
                found[speaker].setdefault(name, (path, " ".join(text.read_text(encoding="utf-8").split())))
            else:
                untold += 1
    return dict(found), untold


def number_of(path: Path) -> str:
    """Of a sentence: p225_003_mic1.flac has 003."""
    return path.name.split(".")[0].split("_")[1]


def parallel(spoken: dict[str, dict[str, tuple[Path, str]]], voices: list[str], held_out: set[str]) -> set[str]:
    """Numbers of held-out sentences that all voices have, with one text."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for voice in voices:
        for path, text in spoken[voice].values():
            texts[number_of(path)][voice] = text
    return {number for number, said in texts.items()
            if number in held_out and len(said) == len(voices) and len(set(said.values())) == 1}  # fmt: skip


def save(out: Path, part: str, rows: dict[str, tuple[Path, str]], pool: ProcessPoolExecutor, *,
         by_number: bool = False) -> None:  # fmt: skip
    """One data dir; ids are names, or the sentences' numbers."""
    speakers = {name: path.parent.name for name, (path, _) in rows.items()}
    found = [Row(name, path, speakers[name], "en") for name, (path, _) in rows.items()]
    made = {row.id: row.path for row in pool.map(partial(decoded, audio=out / "audio"), found, chunksize=8)}
    ids = {name: number_of(path) if by_number else name for name, (path, _) in rows.items()}
    write_dir(out / part, {ids[name]: made[name].resolve() for name in rows}, {ids[n]: speakers[n] for n in rows},
              text={ids[name]: text for name, (_, text) in rows.items()})  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
