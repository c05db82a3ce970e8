"""A sample of frames chosen by hash of utterance id and frame number: not by file order, in bounded memory.

Every frame has a number in 0..2^64-1 that depends on the seed, its utterance's id and its place alone; the sample is
the `max_frames` frames with the smallest numbers, in the order of these. So each frame has the same chance, and the
same corpus gives the same sample in any order, from any number of shards.
"""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechssl.errors import DataError
from speechssl.quantizers.kmeans_parallel import ALONE, Processes

_BLOCK = 16384  # frames looked at together
_MEASURED = 512  # of these at a time, so that their doubles stay in the cache
_SLACK = 8  # the buffer holds 1 + 1/8 of the sample, so that it is cut down once per max_frames / 8 frames taken


@dataclass(frozen=True)
class FrameStatistics:
    """Over all frames that were seen, not only the sample."""

    num_frames: int
    largest: float  # absolute value
    square_sum: float  # of all values


class Sample(NamedTuple):
    """The part of the sample that this process holds: with one process, all of it."""

    rows: Tensor  # [n, C] float32 by rising hash
    seen: FrameStatistics
    places: NDArray[np.int64]  # number of each row in the whole sample [n]
    size: int  # of the whole sample


class FrameSample:
    """Collects the sample. RAM: `num_bytes(max_frames, C)`, taken as frames come."""

    def __init__(self, max_frames: int, seed: int) -> None:
        self._max_frames, self._seed = max_frames, seed
        self._capacity = max_frames + max(1, max_frames // _SLACK)
        self._rows = np.empty((0, 0), np.float32)
        self._keys = np.empty(0, np.uint64)
        self._used = 0
        self._limit = np.uint64(2**64 - 1)  # frames above it are out already
        self._num_frames, self._largest, self._squares = 0, 0.0, 0

    def add(self, utterance_id: str, frames: NDArray[np.float32]) -> None:
        """Offer the frames [T, C] of one utterance. DataError for NaN, infinity, or another C than before."""
        if frames.ndim != 2 or not frames.shape[1]:
            raise DataError(f"{utterance_id}: features must be [frames, channels], got shape {list(frames.shape)}")
        if not self._num_frames:
            self._rows, self._keys = np.empty((0, frames.shape[1]), np.float32), np.empty(0, np.uint64)
        if frames.shape[1] != self._rows.shape[1]:
            raise DataError(f"{utterance_id}: features {frames.shape}, but {self._rows.shape[1]} channels before it")
        keys = frame_keys(utterance_id, len(frames), self._seed)
        for start in range(0, len(frames), _BLOCK):  # hours of frames may come as one memory-mapped array
            for part in range(start, min(start + _BLOCK, len(frames)), _MEASURED):
                self._measure(utterance_id, frames[part : part + _MEASURED])
            self._choose(frames[start : start + _BLOCK], keys[start : start + _BLOCK])

    def _measure(self, utterance_id: str, frames: NDArray[np.float32]) -> None:
        largest = max(float(frames.max()), -float(frames.min()))
        if not np.isfinite(largest):
            raise DataError(f"{utterance_id}: its features contain NaN or infinity")
        self._num_frames += len(frames)
        self._largest = max(self._largest, largest)
        # An integer sum does not depend on the order of the utterances.
        self._squares += round(float(np.square(frames.astype(np.float64)).sum()) * 2.0**40)

    def _choose(self, frames: NDArray[np.float32], keys: NDArray[np.uint64]) -> None:
        taken = np.flatnonzero(keys <= self._limit)
        while len(taken):
            now, taken = taken[: self._capacity - self._used], taken[self._capacity - self._used :]
            self._append(frames[now], keys[now])
            if self._used == self._capacity:
                self._cut()
                taken = taken[keys[taken] <= self._limit]

    def finish(self, processes: Processes = ALONE) -> "Sample":
        """The sample by rising hash, and statistics over all frames seen; with several processes, over what all saw."""
        if self._used > self._max_frames:
            self._cut()
        keys, rows = self._keys[: self._used], self._rows[: self._used]
        order = np.argsort(keys, kind="stable")
        keys, rows = keys[order], rows[order]
        self._rows, self._keys = np.empty((0, 0), np.float32), np.empty(0, np.uint64)
        facts = processes.gather_json([rows.shape[1], self._num_frames, self._largest, self._squares])
        dims = {dim for dim, count, _, _ in facts if count}
        if len(dims) > 1:
            raise DataError(f"the processes have features of {sorted(dims)} channels: one corpus, one encoder")
        counts, peaks, squares = ([fact[number] for fact in facts] for number in (1, 2, 3))
        seen = FrameStatistics(sum(counts), max(peaks), sum(squares) / 2.0**40)
        parts = processes.gather(torch.from_numpy(keys.view(np.int64)))
        everywhere = np.concatenate([part.numpy() for part in parts]).view(np.uint64)
        first = sum(map(len, parts[: processes.rank]))
        places = np.empty(len(everywhere), np.int64)
        places[np.argsort(everywhere, kind="stable")] = np.arange(len(everywhere))
        places = places[first : first + len(keys)]
        kept = int(np.searchsorted(places, self._max_frames))
        rows = rows[:kept].reshape(kept, max(dims, default=rows.shape[1]))
        return Sample(torch.from_numpy(rows), seen, places[:kept], min(len(everywhere), self._max_frames))

    def _append(self, rows: NDArray[np.float32], keys: NDArray[np.uint64]) -> None:
        end = self._used + len(rows)
        if end > len(self._rows):  # grow by doubling: a small corpus shall not take the memory of a large one
            size = min(self._capacity, max(end, 2 * len(self._rows), 4096))
            self._rows = _grown(self._rows, size)
            self._keys = _grown(self._keys, size)
        self._rows[self._used : end] = rows
        self._keys[self._used : end] = keys
        self._used = end

    def _cut(self) -> None:
        """Keep the max_frames smallest keys: the rows behind move into the holes that the dropped ones leave."""
        keys = self._keys[: self._used]
        self._limit = np.partition(keys, self._max_frames - 1)[self._max_frames - 1]
        keep = np.flatnonzero(keys <= self._limit)[: self._max_frames]
        dropped = np.ones(self._used, bool)
        dropped[keep] = False
        holes = np.flatnonzero(dropped[: self._max_frames])
        movers = keep[keep >= self._max_frames]
        self._rows[holes] = self._rows[movers]
        self._keys[holes] = self._keys[movers]
        self._used = self._max_frames


def num_bytes(max_frames: int, dim: int) -> int:
    """Most memory a sample takes, with the copy in the order of its hashes (later: with its bytes and units)."""
    return (2 * max_frames + max_frames // _SLACK) * (4 * dim + 8)


def frame_keys(utterance_id: str, num_frames: int, seed: int) -> NDArray[np.uint64]:
    """The frames' numbers [T]: splitmix64 (Steele, Lea, Flood 2014) from a start that hashes seed and id."""
    digest = hashlib.blake2b(f"{seed}\n{utterance_id}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    with np.errstate(over="ignore"):
        state = np.frombuffer(digest, "<u8") + np.arange(1, num_frames + 1, dtype=np.uint64) * np.uint64(
            0x9E3779B97F4A7C15
        )
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _grown(array: NDArray, size: int) -> NDArray:
    grown = np.empty((size, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
