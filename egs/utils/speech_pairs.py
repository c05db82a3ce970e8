"""Parallel speech to Kaldi data dirs: the same sentence in two languages, split so that no sentence is on two sides.

Scripts of recipes find this file beside the others of egs/utils. Both data dirs of a part have the same utterance ids,
which are what joins them; `translation` in the source's is the text of the target's.
"""

import unicodedata
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kaldi_dir import write_dir

from speechssl.audio import read
from speechssl.audio import write as write_audio
from speechssl.errors import AudioError

PARTS = ("train", "valid", "test")
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


def split(pairs: list[Pair], held_out: float, seed: int) -> tuple[dict[str, list[Pair]], int]:
    """Pairs of each part and how many of train were left out, as one of their texts is said in valid or test.

    Groups, in an order that only their names and the seed decide, go to test until it has the share held_out of all
    pairs, then to valid, the rest to train. What test and valid have in common stays in test alone.
    """
    parts: dict[str, list[Pair]] = {part: [] for part in PARTS}
    aim, lost = held_out * len(pairs), 0
    for group in sorted({pair.group for pair in pairs}, key=lambda name: (zlib.crc32(f"{seed} {name}".encode()), name)):
        part = next((part for part in ("test", "valid") if len(parts[part]) < aim), "train")
        parts[part] += [pair for pair in pairs if pair.group == group]
    said: set[tuple[int, str]] = set()
    for part in ("test", "valid", "train"):
        kept = [pair for pair in parts[part] if not said & _said(pair)]
        lost += len(parts[part]) - len(kept)
        parts[part] = kept
        said |= {text for pair in kept for text in _said(pair)}
    return parts, lost


def _said(pair: Pair) -> set[tuple[int, str]]:
    return {(side, plain(text)) for side, text in enumerate(pair.texts)}


def plain(text: str) -> str:
    """Lower case letters, digits and single spaces: what is said, however it is written."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).lower())
    return " ".join("".join(c if c.isalnum() else " " for c in text).split())


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
    """One side's recording as a 16 kHz WAV, or why it cannot be read; one that is there is kept."""
    path = audio / f"{pair.id}.wav"
    if not path.exists():
        try:
            samples = read(pair.paths[side], sample_rate=RATE).samples
        except AudioError as error:
            return str(error)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, samples, RATE)
    return path.resolve()
