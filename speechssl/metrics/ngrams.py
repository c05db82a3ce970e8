"""Counts of units and of strings of units, and what follows from them: types, hapaxes, entropies.

Strings lie within an utterance. Entropies are those of the counts themselves ("plug-in"), so they are too low where
most strings come once or twice.

V units, T units of an utterance.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError
from speechssl.metrics.units import entropy_bits

IntArray = NDArray[np.int64]
_LEAST_BUFFER = 1 << 20  # strings


@dataclass(frozen=True)
class NgramScores:
    """Of all strings of one length; nan where there are none."""

    order: int  # units in a string
    tokens: int
    types: int  # different strings
    possible: int  # that could be
    hapaxes: int  # types that come once
    type_token_ratio: float
    types_of_half: int  # the fewest types that make up half of all tokens
    entropy: float  # bits of a string
    conditional_entropy: float  # bits of its last unit where the others are known; of order 1: its entropy


class NgramCounts:
    """Strings of `order` units, `add` one utterance at a time. Memory: 16 bytes a type, three times while counting."""

    def __init__(self, order: int, num_units: int) -> None:
        if order < 1 or num_units < 1 or num_units**order >= 1 << 63:
            raise DataError(f"strings of {order} out of {num_units} units cannot be counted: more than 2^63 kinds")
        self.order, self.num_units, self.utterances = order, num_units, 0
        self._keys, self._counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._buffer: list[IntArray] = []
        self._buffered = 0

    def add(self, units: NDArray[np.integer]) -> None:
        """Units [T] of an utterance, as they are to be counted. Raises DataError for units that do not exist."""
        units = np.asarray(units, np.int64)
        if units.size and not 0 <= units.min() <= units.max() < self.num_units:
            raise DataError(f"unit ids must lie in 0..{self.num_units - 1}, found {units.min()}..{units.max()}")
        self.utterances += 1
        count = len(units) - self.order + 1
        if count < 1:
            return
        keys = np.zeros(count, np.int64)
        for place in range(self.order):
            keys = keys * self.num_units + units[place : place + count]
        self._buffer.append(keys)
        self._buffered += count
        if self._buffered >= max(_LEAST_BUFFER, len(self._keys)):
            self._merge()

    def counts(self) -> tuple[IntArray, IntArray]:
        """Strings as numbers in base V, ascending, and how often each comes."""
        self._merge()
        return self._keys, self._counts

    def scores(self, *, runs: bool = False) -> NgramScores:
        """Over everything added. runs: a unit may follow itself, so there are more possible strings."""
        keys, counts = self.counts()
        tokens, ranked = int(counts.sum()), np.sort(counts)[::-1]
        entropy = conditional = entropy_bits(counts)
        if self.order > 1 and tokens:
            _, contexts = np.unique(keys // self.num_units, return_inverse=True)
            before = np.bincount(contexts, weights=counts).astype(np.int64)
            conditional = max(0.0, entropy - entropy_bits(before))
        follow = self.num_units if runs else self.num_units - 1
        return NgramScores(
            order=self.order, tokens=tokens, types=len(keys), possible=self.num_units * follow ** (self.order - 1),
            hapaxes=int((counts == 1).sum()), type_token_ratio=len(keys) / tokens if tokens else math.nan,
            types_of_half=int(np.searchsorted(np.cumsum(ranked), tokens / 2)) + 1 if tokens else 0,
            entropy=entropy, conditional_entropy=conditional,
        )  # fmt: skip

    def _merge(self) -> None:
        if self._buffer:
            new, new_counts = np.unique(np.concatenate(self._buffer), return_counts=True)
            self._buffer, self._buffered = [], 0
            keys, places = np.unique(np.concatenate((self._keys, new)), return_inverse=True)
            counts = np.zeros(len(keys), np.int64)
            np.add.at(counts, places, np.concatenate((self._counts, new_counts)))
            self._keys, self._counts = keys, counts
