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
from typing import Protocol, TypeAlias

import numpy as np
from free_speech import RATE, samples_of
from kaldi_dir import write_dir
from parts import PARTS, part_of_groups, plain, without_repeats

from speechssl.audio import write as write_audio
from speechssl.errors import AudioError, DataError, SpeechSSLError

Find = Callable[[Path, str, str], tuple[list["Pair"], int]]
SIDES = ("source", "target")
SHORTEST = 800  # samples; half as many are no frame and so no unit


class Sound(Protocol):
    """Speech that is no file: a part of one, or what a machine says."""

    def samples(self) -> np.ndarray:
        """[S] at 16 kHz. Raises AudioError or DataError for what cannot be used."""
        ...


Recording: TypeAlias = Path | Sound


@dataclass(frozen=True)
class Pair:
    """A sentence, spoken in two languages: source, then target."""

    id: str
    group: str  # what is in one part as a whole: a level, a picture
    speaker: str
    recordings: tuple[Recording, Recording]
    texts: tuple[str | None, str | None]  # None: nobody wrote it down
    part: str | None = None  # train, valid or test, where the corpus says it; of all pairs or of none


def main(
    find: Find, description: str | None, *, source: str, target: str, packages: str, repeats_stay: bool = False
) -> int:
    """A corpus's script prepare_pairs.py: writes what `find` gives of a folder; 2 where there are no pairs.

    find: pairs of a corpus in two languages, and how many more are spoken in both but have no text in one. source,
    target: the languages where the command line names none. packages: what the folder must hold, for the error.
    repeats_stay: what is said in two parts is counted and not left out, as the corpus's own parts have it.
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
    try:
        return _main(find, args, packages, repeats_stay)
    except SpeechSSLError as error:
        print(error, file=sys.stderr)
        return 2


def _main(find: Find, args: argparse.Namespace, packages: str, repeats_stay: bool) -> int:
    pairs, untold = find(args.corpus, args.source, args.target)
    if len(pairs) < len(PARTS):
        raise DataError(f"{args.corpus}: {len(pairs)} recordings with text in both {args.source} and {args.target}; it "
                        f"must hold the unpacked {packages}")  # fmt: skip
    print(f"  {untold} more recordings of both languages have no text in one of them")
    parts, repeated = split(pairs, args.held_out, args.seed)
    told = "left out, whose text is said in another part too"
    if repeats_stay:
        parts, told = of_corpus(pairs), "have a text that another part has too, and stay"
    print(f"  {len(pairs)} pairs; {repeated} {told}")
    write(args.out, parts, limit=args.limit)
    return 0


def split(pairs: list[Pair], held_out: float, seed: int) -> tuple[dict[str, list[Pair]], int]:
    """Pairs of each part, groups as a whole, and how many were left out, as one of their texts is said in another."""
    if all(pair.part is None for pair in pairs):
        part_of = part_of_groups([pair.group for pair in pairs], held_out, seed)
        parts = {part: [pair for pair in pairs if part_of[pair.group] == part] for part in PARTS}
    else:
        parts = of_corpus(pairs)
    kept, lost = without_repeats(parts, _said)
    return kept, sum(lost.values())


def of_corpus(pairs: list[Pair]) -> dict[str, list[Pair]]:
    """Pairs of each part, as the corpus has them."""
    return {part: [pair for pair in pairs if pair.part == part] for part in PARTS}


def _said(pair: Pair) -> set[Hashable]:
    return {(side, plain(text)) for side, text in enumerate(pair.texts) if text is not None}


def write(out: Path, parts: dict[str, list[Pair]], *, limit: int) -> None:
    """OUT/{train,valid,test}/{source,target}, recordings in OUT/audio. limit: pairs of each part, 0: all."""
    for part, found in parts.items():
        own = sorted(found, key=lambda pair: pair.id.encode())
        own = own[:: max(1, len(own) // limit)][:limit] if limit else own
        if not own:
            raise DataError(f"no pair is left for {part}: {sum(map(len, parts.values()))} in all")
        with ProcessPoolExecutor(2) as pool:
            sides = [pool.map(partial(decoded, side=side, audio=out / "audio" / name), own, chunksize=20)
                     for side, name in enumerate(SIDES)]  # fmt: skip
            audio = dict(zip((pair.id for pair in own), zip(*sides, strict=True), strict=True))
        for name, reason in (
            (name, reason) for name, made in audio.items() for reason in made if isinstance(reason, str)
        ):
            print(f"  {name}: left out: {reason}")
        own = [pair for pair in own if all(isinstance(path, Path) for path in audio[pair.id])]
        if not own:
            raise DataError(f"{part}: no pair has a recording that can be used on both sides")
        for side, name in enumerate(SIDES):
            tables = _texts(own, side, "text") | (_texts(own, 1, "translation") if side == 0 else {})
            write_dir(out / part / name, {pair.id: Path(audio[pair.id][side]) for pair in own},
                      {pair.id: pair.speaker for pair in own}, **tables)  # fmt: skip


def _texts(pairs: list[Pair], side: int, table: str) -> dict[str, dict[str, str]]:
    """The table of one side's texts; none where one is not known."""
    texts = {pair.id: pair.texts[side] for pair in pairs}
    return {table: {name: plain(text or "") for name, text in texts.items()}} if None not in texts.values() else {}


def decoded(pair: Pair, side: int, audio: Path) -> Path | str:
    """One side's recording as a 16 kHz WAV, or why it cannot be used."""
    return as_wav(pair.recordings[side], audio / f"{pair.id}.wav")


def as_wav(recording: Recording, path: Path) -> Path | str:
    """The recording as a 16 kHz WAV at `path`, or why it cannot be used; one that is there is kept."""
    if not path.exists():
        try:
            samples = samples_of(recording) if isinstance(recording, Path) else recording.samples()
        except (AudioError, DataError) as error:
            return str(error)
        if len(samples) < SHORTEST:
            return f"{len(samples)} samples: too short for units"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, samples, RATE)
    return path.resolve()
