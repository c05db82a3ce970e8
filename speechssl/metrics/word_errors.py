"""Word and character error rates: (substitutions + deletions + insertions) / reference, and how sure they are.

Counts are those of one alignment with the fewest edits (rapidfuzz's). A rate over utterances divides sums. An empty
reference adds its insertions to the errors and nothing to the length; where all are empty the rate is undefined.
Intervals: percentiles of the rate over utterances (or speakers) drawn with replacement (Bisani and Ney 2004); two
systems are compared on the same draws.
U utterances, R draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import ConfigError

IntArray = NDArray[np.int64]
_CHUNK = 1 << 22  # drawn numbers at once


@dataclass(frozen=True)
class EditCounts:
    """Of an utterance, or summed over some."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference(self) -> int:
        """Words (characters) of the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors over reference; may be above 1. nan where the reference is empty."""
        return self.errors / self.reference if self.reference else math.nan

    def __add__(self, other: "EditCounts") -> "EditCounts":
        return EditCounts(self.hits + other.hits, self.substitutions + other.substitutions,
                          self.deletions + other.deletions, self.insertions + other.insertions)  # fmt: skip


def count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> EditCounts:
    """Of words in lists, or of the characters of strings."""
    from rapidfuzz.distance import Levenshtein

    tags = [edit.tag for edit in Levenshtein.editops(reference, hypothesis)]
    replaced, deleted = tags.count("replace"), tags.count("delete")
    return EditCounts(len(reference) - replaced - deleted, replaced, deleted, len(tags) - replaced - deleted)


def align_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of words that face each other, "" where one side has none."""
    from rapidfuzz.distance import Levenshtein

    pairs: list[tuple[str, str]] = []
    for step in Levenshtein.opcodes(reference, hypothesis):
        ours, theirs = reference[step.src_start : step.src_end], hypothesis[step.dest_start : step.dest_end]
        if step.tag in ("equal", "replace"):
            pairs += zip(ours, theirs, strict=True)
        else:
            pairs += [(word, "") for word in ours] + [("", word) for word in theirs]
    return pairs


@dataclass(frozen=True)
class Interval:
    """Percentiles of a bootstrap."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Of a system with another one on the same utterances; a negative difference: the first has fewer errors."""

    difference: float  # of rates, first - second
    interval: Interval  # of the difference
    share_better: float  # of draws in which the first has the lower rate; a draw with equal rates counts half


def bootstrap(
    errors: IntArray, lengths: IntArray, *, num_draws: int, level: float, seed: int, groups: Sequence[str] | None = None
) -> Interval:
    """Of sum(errors) / sum(lengths), both [U]. groups [U]: draw whole groups, such as speakers."""
    rates = _draws(np.stack((errors, lengths), 1), num_draws, level, seed, groups)
    return _interval(rates[:, 0] / np.where(rates[:, 1] > 0, rates[:, 1], np.nan), level)


def compare(
    errors: IntArray, others: IntArray, lengths: IntArray, *, num_draws: int, level: float, seed: int,
    groups: Sequence[str] | None = None,
) -> Comparison:  # fmt: skip
    """Two systems: errors [U] of the first, of the second, and lengths [U] of the references."""
    sums = _draws(np.stack((errors, others, lengths), 1), num_draws, level, seed, groups)
    sums = sums[sums[:, 2] > 0]
    differences = (sums[:, 0] - sums[:, 1]) / sums[:, 2]
    total = int(lengths.sum())
    difference = int(errors.sum() - others.sum()) / total if total else math.nan
    better = float((differences < 0).mean() + (differences == 0).mean() / 2) if len(sums) else math.nan
    return Comparison(difference, _interval(differences, level), better)


def _draws(values: IntArray, num_draws: int, level: float, seed: int, groups: Sequence[str] | None) -> IntArray:
    """Sums [R, k] of values [U, k] over utterances, or groups of them, drawn with replacement."""
    if num_draws < 1 or not 0 < level < 1:
        raise ConfigError(f"{num_draws} draws at a level of {level}: take at least one, and a level between 0 and 1")
    if groups is not None:
        names = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        summed = np.zeros((len(names), values.shape[1]), np.int64)
        np.add.at(summed, [names[name] for name in groups], values)
        values = summed
    random, found = np.random.default_rng(seed), []
    for first in range(0, num_draws, step := max(1, _CHUNK // max(1, len(values)))):
        chosen = random.integers(0, len(values), (min(step, num_draws - first), len(values)))
        found.append(values[chosen].sum(1))
    return np.concatenate(found)


def _interval(values: NDArray[np.float64], level: float) -> Interval:
    kept = values[np.isfinite(values)]
    if not len(kept):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
