"""What a beam search adds to the acoustic score: n-gram models of symbols or words, lexicons, bonuses.

A scorer's state is a row of numbers, so that a whole beam is asked at once. Labels: `alternative * V + symbol`;
alternative 0 only writes the symbol (and ends a word where the symbol is the boundary), others end a word in another
way. V symbols, A labels, M hypotheses, K numbers of a state, W words.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from speechssl.decoders.ngram import FloatArray, IntArray, NgramModel
from speechssl.decoders.rows import Rows
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

    Symbols that the model lacks are its <unk>.
    """

    def __init__(
        self, model: NgramModel, symbols: Sequence[str], *, blank: int, weight: float, bonus: float = 0.0
    ) -> None:
        self.num_labels, self.symbol_of = len(symbols), np.arange(len(symbols))
        self._model, self._weight, self._bonus, self._blank = model, weight, bonus, blank
        self._numbers = model.numbers(symbols)
        if not any(symbol in model.number_of for i, symbol in enumerate(symbols) if i != blank):
            raise ConfigError(f"the language model knows none of the symbols, {symbols[:8]} ...: is it one of words?")
        self._rows = Rows(model.num_states, self._made)

    def start(self) -> IntArray:
        """The model's <s>."""
        return np.array([[self._model.start]])

    def gains(self, states: IntArray) -> FloatArray:
        """Weighted log probabilities."""
        (gains, _), places = self._rows(states[:, 0])
        return gains[places]

    def advance(self, states: IntArray, labels: IntArray) -> IntArray:
        """The model's states."""
        (_, after), places = self._rows(states[:, 0])
        return after[places, labels][:, None]

    def finish(self, states: IntArray) -> FloatArray:
        """The weighted log probability of </s>."""
        return self._weight * self._model.end(states[:, 0])

    def _made(self, states: IntArray) -> tuple[FloatArray, IntArray]:
        """Gains and next states [M, V] of the model's states."""
        num = self.num_labels
        logps, after = self._model.score(np.repeat(states, num), np.tile(self._numbers, len(states)))
        gains = (self._weight * logps + self._bonus).reshape(-1, num)
        gains[:, self._blank] = -np.inf
        return gains, after.reshape(-1, num)
