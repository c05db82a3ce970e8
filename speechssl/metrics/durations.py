"""How long units and phones last: the distribution of the runs of one unit, and of the segments of an alignment.

A run at either end of a recording counts as long as it is there. Quantiles are durations that occur: the shortest that
at least such a share of all does not exceed (numpy's "inverted_cdf").

T frames, N values.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError
from speechssl.metrics.alignments import Alignments

FloatArray = NDArray[np.floating]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_LENGTHS = 1 << 25  # more frames than an utterance has


@dataclass(frozen=True)
class Durations:
    """A distribution of durations, in ms; nan where there is none."""

    count: int
    mean_ms: float
    deviation_ms: float  # standard deviation
    p5_ms: float
    p25_ms: float
    median_ms: float
    p75_ms: float
    p95_ms: float
    longest_ms: float


class RunLengths:
    """Counts of runs by unit and length, `add` one utterance at a time. Memory: the pairs of both that occur."""

    def __init__(self, num_units: int, *, unit_rate: float) -> None:
        if num_units < 1 or not unit_rate > 0:
            raise DataError(f"durations need units and their rate, got {num_units} units at {unit_rate:g} Hz")
        self.num_units, self.unit_rate = num_units, float(unit_rate)
        self.utterances = 0
        self._counts: Counter[int] = Counter()  # unit x _LENGTHS + length

    def add(self, units: NDArray[np.integer]) -> None:
        """Units [T] of an utterance, frame by frame. Raises DataError for units that do not exist."""
        units = np.asarray(units, np.int64)
        if units.size and not 0 <= units.min() <= units.max() < self.num_units:
            raise DataError(f"unit ids must lie in 0..{self.num_units - 1}, found {units.min()}..{units.max()}")
        self.utterances += 1
        starts = np.flatnonzero(np.diff(units, prepend=-1))
        lengths = np.diff(starts, append=len(units))
        for key, count in zip(*np.unique(units[starts] * _LENGTHS + lengths, return_counts=True), strict=True):
            self._counts[int(key)] += int(count)

    def histogram(self, unit: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Lengths in frames that occur, ascending, and how often; of one unit, or of all."""
        found: Counter[int] = Counter()
        for key, count in self._counts.items():
            if unit is None or key // _LENGTHS == unit:
                found[key % _LENGTHS] += count
        lengths = np.array(sorted(found), np.int64)
        return lengths, np.array([found[length] for length in lengths.tolist()], np.int64)

    def units(self) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """The histogram of every unit that occurs, in one pass over the counts."""
        rows: dict[int, list[tuple[int, int]]] = {}
        for key in sorted(self._counts):
            rows.setdefault(key // _LENGTHS, []).append((key % _LENGTHS, self._counts[key]))
        return {unit: (np.array(pairs).T[0], np.array(pairs).T[1]) for unit, pairs in rows.items()}

    def describe(self, lengths: NDArray[np.int64], counts: NDArray[np.int64]) -> Durations:
        """The distribution of a histogram."""
        return describe(lengths * (1000 / self.unit_rate), counts)


def one_frame_share(lengths: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """The share of runs of a single frame; nan where there is no run."""
    return float(counts[lengths == 1].sum() / counts.sum()) if counts.size else math.nan


def describe(values_ms: FloatArray, counts: NDArray[np.int64]) -> Durations:
    """The distribution of values [N] in ms, ascending, each of which comes counts [N] times."""
    if not counts.sum():
        return Durations(0, *[math.nan] * 8)
    total = counts.sum()
    mean = float(values_ms @ counts / total)
    deviation = math.sqrt(float(np.square(values_ms - mean) @ counts / total))
    upto = np.cumsum(counts)
    p5, p25, median, p75, p95 = (float(values_ms[np.searchsorted(upto, share * total - 1e-9)]) for share in QUANTILES)
    return Durations(int(total), mean, deviation, p5, p25, median, p75, p95, float(values_ms[-1]))


def phone_durations(alignments: Alignments, utterances: Iterable[str]) -> dict[str, FloatArray]:
    """Durations in ms of every label's segments, in no order; those without length are there, as 0."""
    scale = 1000.0 if alignments.rate_hz is None else 1000 / alignments.rate_hz
    found: dict[int, list[FloatArray]] = {}
    for name in utterances:
        starts, ends, labels = alignments.runs[name]
        for label in np.unique(labels):
            mine = labels == label
            found.setdefault(int(label), []).append((ends[mine] - starts[mine]).astype(np.float64) * scale)
    return {alignments.labels[label]: np.concatenate(parts) for label, parts in sorted(found.items())}
