"""A sequence of discrete units with durations."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError

MOST_FRAMES = 1 << 24  # of one utterance: 93 hours at 50 Hz


@dataclass(frozen=True, eq=False)
class Units:
    """Discrete units of one utterance: ids [N], each held for durations [N] frames of 1 / rate_hz seconds.

    Straight from a unit model every duration is 1; `dedup` merges runs.
    """

    ids: NDArray[np.int64]
    durations: NDArray[np.int64]
    rate_hz: float
    size: int  # V: ids are in 0..V-1

    def __post_init__(self) -> None:
        """Check shapes and ranges, so that broken units cannot travel."""
        if self.ids.ndim != 1 or self.ids.shape != self.durations.shape:
            raise DataError(f"ids {self.ids.shape} and durations {self.durations.shape} must be equal vectors")
        if self.ids.size and not (self.ids.min() >= 0 and self.ids.max() < self.size):
            raise DataError(f"unit ids must lie in 0..{self.size - 1}, found {self.ids.min()}..{self.ids.max()}")
        if self.durations.size and not 1 <= self.durations.min() <= self.durations.max() <= MOST_FRAMES:
            raise DataError(f"durations must be 1..{MOST_FRAMES} frames, found {self.durations.min()}")
        if self.num_frames > MOST_FRAMES:
            raise DataError(f"{self.num_frames} frames are more than one utterance can have")
        if not (0.01 < self.rate_hz < 1e6 and self.size > 0):
            raise DataError(f"units of {self.size} kinds at {self.rate_hz} Hz")

    @classmethod
    def from_frames(cls, ids: Iterable[int] | NDArray[np.integer], *, rate_hz: float, size: int) -> "Units":
        """One unit per frame, every duration 1."""
        frames = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), dtype=np.int64)
        return cls(frames, np.ones_like(frames), rate_hz, size)

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Units):
            return NotImplemented
        same_kind = (self.rate_hz, self.size) == (other.rate_hz, other.size)
        return same_kind and np.array_equal(self.ids, other.ids) and np.array_equal(self.durations, other.durations)

    @property
    def num_frames(self) -> int:
        """Frames covered: the sum of the durations."""
        return int(self.durations.sum())

    @property
    def seconds(self) -> float:
        """Time covered."""
        return self.num_frames / self.rate_hz

    def frames(self) -> NDArray[np.int64]:
        """One id per frame [num_frames]."""
        return np.repeat(self.ids, self.durations)

    def dedup(self) -> "Units":
        """Runs of the same id merged into one, durations added."""
        if not self.ids.size:
            return self
        starts = np.flatnonzero(np.concatenate(([True], self.ids[1:] != self.ids[:-1])))
        return Units(self.ids[starts], np.add.reduceat(self.durations, starts), self.rate_hz, self.size)

    def text(self) -> str:
        """The ids separated by spaces, as they stand (call `dedup` first for merged runs)."""
        return " ".join(map(str, self.ids.tolist()))

    def bitrate(self) -> float:
        """bit/s: log2(V) x rate of deduplicated units; 0 for no frames. The entropy version is `metrics.bitrate`."""
        return len(self.dedup()) * math.log2(self.size) / self.seconds if self.ids.size else 0.0
