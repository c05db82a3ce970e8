"""Parallel speech to Kaldi data dirs: the same sentence in two languages, split so that no sentence is on two sides.

Scripts of recipes find this file beside the others of egs/utils. Both data dirs of a part have the same utterance ids,
which are what joins them; `translation` in the source's is the text of the target's.
"""

import argparse
import sys
from collections.abc import Callable, Hashable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kaldi_dir import write_dir
from parts import PARTS, part_of_groups, plain, without_repeats

from speechssl.audio import read
from speechssl.audio import write as write_audio
from speechssl.errors import AudioError

Find = Callable[[Path, str, str], tuple[list["Pair"], int]]
SIDES = ("source", "target")
RATE = 16_000


@dataclass(frozen=True)
class Pair:
    """A sentence, spoken in two languages: source, then target."""

    id: str
    group: str  # what is in one part as a whole: a level, a picture
    speaker: str
    paths: tuple[Path, Path]
    texts: tuple[str, str]


def main(find: Find, description: str | None, *, source: str, target: str, packages: str) -> int:
    """A corpus's script prepare_pairs.py: writes what `find` gives of a folder; 2 where there are no pairs.

    find: pairs of a corpus in two languages, and how many more are spoken in both but have no text in one. source,
    target: the languages where the command line names none. packages: what the folder must hold, for the error.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--source", default=source)
    parser.add_argument("--target", default=target)
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the test, and of the validation")
    parser.add_argument("--seed", type=int, default=0, help="of what is held out")
    parser.add_argument("--limit", type=int, default=0, help="at most so many pairs of each part (0: all)")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    pairs, untold = find(args.corpus, args.source, args.target)
    if len(pairs) < len(PARTS):
        print(f"{args.corpus}: {len(pairs)} recordings with text in both {args.source} and {args.target}; it must hold "
              f"the unpacked {packages}", file=sys.stderr)  # fmt: skip
        return 2
    print(f"  {untold} more recordings of both languages have no text in one of them")
    write(args.out, pairs, held_out=args.held_out, seed=args.seed, limit=args.limit)
    return 0


def split(pairs: list[Pair], held_out: float, seed: int) -> tuple[dict[str, list[Pair]], int]:
    """Pairs of each part, groups as a whole, and how many were left out, as one of their texts is said in another."""
    part_of = part_of_groups([pair.group for pair in pairs], held_out, seed)
    parts = {part: [pair for pair in pairs if part_of[pair.group] == part] for part in PARTS}
    kept, lost = without_repeats(parts, _said)
    return kept, sum(lost.values())


def _said(pair: Pair) -> set[Hashable]:
    return {(side, plain(text)) for side, text in enumerate(pair.texts)}


def write(out: Path, pairs: list[Pair], *, held_out: float, seed: int, limit: int) -> None:
    """OUT/{train,valid,test}/{source,target}, recordings in OUT/audio. limit: pairs of each part, 0: all."""
    parts, lost = split(pairs, held_out, seed)
    print(f"  {len(pairs)} pairs; {lost} left out, whose text is said in another part too")
    for part, found in parts.items():
        own = sorted(found, key=lambda pair: pair.id.encode())
        own = own[:: max(1, len(own) // limit)][:limit] if limit else own
        if not own:
            raise SystemExit(f"no pair is left for {part}: {len(pairs)} in all")
        with ProcessPoolExecutor(2) as pool:
            sides = [pool.map(partial(decoded, side=side, audio=out / "audio" / name), own, chunksize=20)
                     for side, name in enumerate(SIDES)]  # fmt: skip
            audio = dict(zip((pair.id for pair in own), zip(*sides, strict=True), strict=True))
        for name, reason in (
            (name, reason) for name, made in audio.items() for reason in made if isinstance(reason, str)
        ):
            print(f"  {name}: left out: {reason}")
        own = [pair for pair in own if all(isinstance(path, Path) for path in audio[pair.id])]
        for side, name in enumerate(SIDES):
            tables = {"text": {pair.id: plain(pair.texts[side]) for pair in own}}
            if side == 0:
                tables["translation"] = {pair.id: plain(pair.texts[1]) for pair in own}
            write_dir(out / part / name, {pair.id: Path(audio[pair.id][side]) for pair in own},
                      {pair.id: pair.speaker for pair in own}, **tables)  # fmt: skip


def decoded(pair: Pair, side: int, audio: Path) -> Path | str:
    """One side's recording as a 16 kHz WAV, or why it cannot be read."""
    return as_wav(pair.paths[side], audio / f"{pair.id}.wav")


def as_wav(recording: Path, path: Path) -> Path | str:
    """The recording as a 16 kHz WAV at `path`, or why it cannot be read; one that is there is kept."""
    if not path.exists():
        try:
            samples = read(recording, sample_rate=RATE).samples
        except AudioError as error:
            return str(error)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, samples, RATE)
    return path.resolve()
