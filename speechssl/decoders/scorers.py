"""What a beam search adds to the acoustic score: n-gram models of symbols or words, lexicons, bonuses.

A scorer's state is a row of numbers, so that a whole beam is asked at once. Labels: `alternative * V + symbol`;
alternative 0 only writes the symbol (and ends a word where the symbol is the boundary), others end a word in another
way. V symbols, A labels, M hypotheses, K numbers of a state, W words.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from speechssl.decoders.ngram import FloatArray, IntArray, NgramModel
from speechssl.errors import ConfigError


class Scorer(Protocol):
    """What `PrefixBeam` asks."""

    num_labels: int
    symbol_of: IntArray  # [A]

    def start(self) -> IntArray:
        """The state [1, K] before the first label."""
        ...

    def gains(self, states: IntArray) -> FloatArray:
        """What each label adds [M, A] after states [M, K]; -inf: it cannot come."""
        ...

    def advance(self, states: IntArray, labels: IntArray) -> IntArray:
        """States [M, K] after labels [M], whose gains are not -inf."""
        ...

    def finish(self, states: IntArray) -> FloatArray:
        """What the end adds [M]; -inf: it cannot come here."""
        ...


class NoScorer:
    """The acoustic score alone, and a bonus for each symbol."""

    def __init__(self, num_symbols: int, *, blank: int, bonus: float = 0.0) -> None:
        self.num_labels, self.symbol_of = num_symbols, np.arange(num_symbols)
        self._gains = np.full(num_symbols, bonus)
        self._gains[blank] = -np.inf

    def start(self) -> IntArray:
        """Nothing to remember."""
        return np.zeros((1, 0), np.int64)

    def gains(self, states: IntArray) -> FloatArray:
        """The bonus."""
        return np.tile(self._gains, (len(states), 1))

    def advance(self, states: IntArray, labels: IntArray) -> IntArray:
        """Nothing to remember."""
        return states

    def finish(self, states: IntArray) -> FloatArray:
        """Nothing."""
        return np.zeros(len(states))


class SymbolScorer:
    """A language model of symbols: weight * log p(symbol | symbols before) + bonus for each, weight * log p(end).

    Symbols that the model lacks are its <unk>. What a state has been asked once is kept: 16 V bytes a state.
    """

    def __init__(
        self, model: NgramModel, symbols: Sequence[str], *, blank: int, weight: float, bonus: float = 0.0
    ) -> None:
        self.num_labels, self.symbol_of = len(symbols), np.arange(len(symbols))
        self._model, self._weight, self._bonus, self._blank = model, weight, bonus, blank
        self._numbers = model.numbers(symbols)
        if not any(symbol in model.number_of for i, symbol in enumerate(symbols) if i != blank):
            raise ConfigError(f"the language model knows none of the symbols, {symbols[:8]} ...: is it one of words?")
        self._row: dict[int, int] = {}
        self._rows, self._next = np.zeros((256, len(symbols))), np.zeros((256, len(symbols)), np.int64)

    def start(self) -> IntArray:
        """The model's <s>."""
        return np.array([[self._model.start]])

    def gains(self, states: IntArray) -> FloatArray:
        """Weighted log probabilities."""
        return self._rows[self._places(states)]

    def advance(self, states: IntArray, labels: IntArray) -> IntArray:
        """The model's states."""
        return self._next[self._places(states), labels][:, None]

    def finish(self, states: IntArray) -> FloatArray:
        """The weighted log probability of </s>."""
        return self._weight * self._model.end(states[:, 0])

    def _places(self, states: IntArray) -> IntArray:
        """Rows [M] of what states [M, 1] were asked, asked now where it is the first time."""
        wanted = states[:, 0].tolist()
        if new := [state for state in dict.fromkeys(wanted) if state not in self._row]:
            first, num = len(self._row), self.num_labels
            while first + len(new) > len(self._rows):
                self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
                self._next = np.concatenate((self._next, np.zeros_like(self._next)))
            logps, after = self._model.score(np.repeat(new, num), np.tile(self._numbers, len(new)))
            rows = (self._weight * logps + self._bonus).reshape(-1, num)
            rows[:, self._blank] = -np.inf
            self._rows[first : first + len(new)], self._next[first : first + len(new)] = rows, after.reshape(-1, num)
            self._row.update({state: first + i for i, state in enumerate(new)})
        return np.array([self._row[state] for state in wanted], np.int64)
