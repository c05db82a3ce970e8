"""The manifest's rows cut into shards: a function of the rows alone, so every process comes to the same plan."""

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechssl.data.utterance import Utterance
from speechssl.errors import DataError
from speechssl.extract.job import Manifest

MAX_SHARD = 256  # utterances
_FEWEST_SHARDS = 64  # a small corpus is cut this fine, so that it spreads over workers and a kill costs little


@dataclass(frozen=True)
class Task:
    """One shard to run: its number and its rows."""

    shard: int
    rows: tuple[Utterance, ...]


def shard_size(num_utterances: int) -> int:
    """Utterances per shard: at most 256, and fewer where that gives less than 64 shards."""
    return max(1, min(MAX_SHARD, -(-num_utterances // _FEWEST_SHARDS)))


def tasks(utterances: Sequence[Utterance], size: int, wanted: Callable[[int], bool]) -> Iterator[Task]:
    """The shards that are wanted, in order; rows are taken as they are needed."""
    for shard, start in enumerate(range(0, len(utterances), size)):
        if wanted(shard):
            yield Task(shard, tuple(utterances[start : start + size]))


def check_manifest(utterances: Sequence[Utterance], refusals: Sequence[Callable[[str], str | None]]) -> Manifest:
    """Identity of the rows, after a look at every id. Memory: 8 bytes per row.

    The sum covers ids, absolute paths, segments, in order; not what is in the audio files. Raises DataError for an id
    that comes twice, is empty or no valid Unicode, or that an output format refuses; the message names the row.
    """
    digest = hashlib.sha256()
    keys = array("Q")
    here = Path.cwd()
    for row, utterance in enumerate(utterances, 1):
        name = utterance.id
        try:
            key = name.encode()
        except UnicodeEncodeError:
            raise DataError(f"row {row}: utterance id {name!r} is not valid Unicode") from None
        reason = "an id cannot be empty" if not name else next((r for f in refusals if (r := f(name))), None)
        if reason:
            raise DataError(f"row {row}: utterance id {name!r}: {reason}")
        keys.append(int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()))
        audio = utterance.audio if utterance.pipe else os.path.join(here, utterance.audio)  # noqa: PTH118
        fields = (name, os.path.normpath(audio), utterance.start_s, utterance.end_s, utterance.pipe)
        digest.update(repr(fields).encode(errors="surrogateescape"))
    _check_unique(utterances, keys)
    return Manifest(digest.hexdigest(), len(keys))


def _check_unique(utterances: Sequence[Utterance], keys: "array[int]") -> None:
    values = np.frombuffer(keys, dtype=np.uint64) if len(keys) else np.zeros(0, np.uint64)
    ordered = np.sort(values)
    doubtful = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not doubtful:
        return
    seen: dict[str, int] = {}
    for row, utterance in enumerate(utterances, 1):
        if keys[row - 1] in doubtful and seen.setdefault(utterance.id, row) != row:
            raise DataError(f"rows {seen[utterance.id]} and {row}: utterance id {utterance.id!r} comes twice")
