"""How sure a figure over utterances is: percentiles of it over utterances (or speakers) drawn with replacement.

Bisani and Ney 2004 (error rates); two systems are compared on the same draws. Figures are quotients of sums over
utterances: errors and words, distances and frames, scores and ones.
U utterances, R draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechssl.errors import ConfigError

FloatArray = NDArray[np.float64]
_CHUNK = 1 << 22  # drawn numbers at once


@dataclass(frozen=True)
class Interval:
    """Percentiles of a bootstrap."""

    low: float
    high: float


class Quotient(NamedTuple):
    """sum(above) / sum(below), both [U]; undefined where below is nothing. root: its square root, as of an RMSE."""

    above: ArrayLike
    below: ArrayLike
    root: bool = False

    def value(self) -> float:
        """Over all utterances."""
        return float(self.of(np.sum(self.above, keepdims=True), np.sum(self.below, keepdims=True))[0])

    def of(self, above: FloatArray, below: FloatArray) -> FloatArray:
        """Of sums [R] and [R]."""
        found = above / np.where(below > 0, below, np.nan)
        return np.sqrt(found) if self.root else found

    def sides(self) -> list[FloatArray]:
        """Both, as numbers."""
        return [np.asarray(side, np.float64) for side in (self.above, self.below)]


@dataclass(frozen=True)
class Comparison:
    """Of a system with another one on the same utterances."""

    difference: float  # first - second
    interval: Interval  # of the difference
    share_below: float  # of draws in which the first has the lower figure; a draw with equal ones counts half


def bootstrap(
    figure: Quotient, *, num_draws: int = 1000, level: float = 0.95, seed: int = 0, groups: Sequence[str] | None = None
) -> Interval:
    """Of a quotient. groups [U]: draw whole groups, such as speakers. ConfigError for no draws or no level."""
    sums = drawn_sums(np.stack(figure.sides(), 1), num_draws, seed, groups)
    return interval(figure.of(sums[:, 0], sums[:, 1]), level)


def compare(
    one: Quotient, other: Quotient, *, num_draws: int = 1000, level: float = 0.95, seed: int = 0,
    groups: Sequence[str] | None = None,
) -> Comparison:  # fmt: skip
    """Two systems on the same utterances, drawn alike."""
    sums = drawn_sums(np.stack([*one.sides(), *other.sides()], 1), num_draws, seed, groups)
    differences = one.of(sums[:, 0], sums[:, 1]) - other.of(sums[:, 2], sums[:, 3])
    kept = differences[np.isfinite(differences)]
    below = float((kept < 0).mean() + (kept == 0).mean() / 2) if len(kept) else math.nan
    return Comparison(one.value() - other.value(), interval(differences, level), below)


def drawn_sums(values: FloatArray, num_draws: int, seed: int, groups: Sequence[str] | None = None) -> FloatArray:
    """Sums [R, k] of values [U, k] over utterances, or groups of them, drawn with replacement."""
    if num_draws < 1:
        raise ConfigError(f"{num_draws} draws: take at least one")
    if groups is not None:
        names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        summed = np.zeros((len(names), values.shape[1]))
        np.add.at(summed, [names[name] for name in groups], values)
        values = summed
    random, found = np.random.default_rng(seed), []
    for first in range(0, num_draws, step := max(1, _CHUNK // max(1, len(values)))):
        chosen = random.integers(0, len(values), (min(step, num_draws - first), len(values)))
        found.append(values[chosen].sum(1))
    return np.concatenate(found)


def interval(values: FloatArray, level: float = 0.95) -> Interval:
    """The middle `level` of values [R], undefined ones left out; undefined where none is left."""
    if not 0 < level < 1:
        raise ConfigError(f"{level}: take a level between 0 and 1")
    kept = values[np.isfinite(values)]
    if not len(kept):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
