"""What sentencepiece's unigram training starts from: every string of units that comes more than once.

sentencepiece 0.2.3 finds these strings byte by byte and drops those that branch inside a character (of the 15,628 that
514 utterances of 100 units hold it found 288), so it is given ours. As in 0.2.1, a string counts where it is not always
followed by one and the same unit, and weighs its frequency times its length.

N units of all sentences together, with a separator after each.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechssl.units.piece_card import FIRST_CHARACTER

MOST_SEEDS = 1_000_000
_SEED_FILE = (2, 54)  # sentencepiece_model.proto: ModelProto.trainer_spec, TrainerSpec.seed_sentencepieces_file


def seeds(sentences: Iterable[str], longest: int, most: int = MOST_SEEDS) -> Iterator[tuple[str, int]]:
    """Strings of 2 to `longest` characters that come at least twice, and how often; at most `most`, the heaviest first.

    Memory: some 60 bytes for each character of the sentences, while the shortest strings are counted.
    """
    text = "\0".join(sentences) + "\0"
    units = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64)
    units = np.where(units > 0, units - FIRST_CHARACTER + 1, 0)
    if not (found := list(_repeated(units, longest))):  # single units are no business of ours
        return
    starts, lengths, counts = (np.concatenate(column) for column in zip(*found, strict=True))
    for place in np.lexsort((starts, -lengths * counts))[:most]:
        yield text[starts[place] : starts[place] + lengths[place]], int(counts[place])


def write_seeds(path: Path, sentences: Sequence[str], longest: int) -> None:
    """The file that `seed_sentencepieces_file` names."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{piece}\t{count}\n" for piece, count in seeds(sentences, longest))


def without_seed_file(model: bytes) -> bytes:
    """A trained model that does not tell where the file of seeds was: the same units give the same bytes anywhere."""
    return _without(model, _SEED_FILE)


def _repeated(units: NDArray[np.int64], longest: int) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """First places, lengths and counts of the strings of each length; 0 in `units` ends a sentence."""
    size = int(units.max()) + 1
    places = np.flatnonzero(units)
    names = units[places]  # of the string of `length` units at each place: equal for equal strings
    first, counts = places[:0], places[:0]
    for length in range(1, longest + 1):
        inside = units[places + length] > 0  # a sentence goes on; its separator is there to be looked at
        places, parents = places[inside], names[inside]
        keys = parents * size + units[places + length]
        _, at, names, next_counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        if length > 1:
            followed = np.zeros(len(counts), np.int64)  # how often the unit comes that follows a string most often
            np.maximum.at(followed, parents[at], next_counts)
            kept = (counts > 1) & (followed < counts)
            yield first[kept], np.full(kept.sum(), length), counts[kept]
        first, counts = places[at], next_counts
        repeated = counts[names] > 1
        places, names = places[repeated], names[repeated]


def _without(message: bytes, path: tuple[int, ...]) -> bytes:
    """A protocol buffer without the field at `path`, a number for each message that it is in, and its own."""
    kept, at = bytearray(), 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        content = at
        if tag & 7 == 2:  # a length, and so many bytes
            length, content = _varint(message, at)
            at = content + length
        else:  # a number: of 8 bytes, of 4, or as long as its bytes say
            at = {1: at + 8, 5: at + 4}[tag & 7] if tag & 7 else _varint(message, at)[1]
        if tag >> 3 != path[0]:
            kept += message[start:at]
        elif len(path) > 1:
            inner = _without(message[content:at], path[1:])
            kept += _as_varint(tag) + _as_varint(len(inner)) + inner
    return bytes(kept)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = message[at], at + 1
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
