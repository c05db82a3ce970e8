"""Back-off n-gram language models as automata whose states are histories, asked for many states at once.

State 0 is the empty history; every n-gram shorter than the order is a state. An arc (state, word) holds the log
probability of that n-gram and the state after it; where a state lacks a word, its back-off weight is added and the
state of the history without its first word is asked, down to state 0, which has every word.
Q states, A arcs, W words, N order, M questions. Logarithms are natural. Memory: 24 bytes an arc.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
FLOOR = -100 * np.log(10)  # log probabilities below it are taken for it, so that 0 * theirs is 0


class NgramModel:
    """A back-off model. tables[n - 1]: of all n-grams, words [A, n], log probabilities [A], back-off weights [A].

    Raises DataError: a word twice or nowhere among the unigrams, an n-gram twice, one whose beginning is not there.
    """

    def __init__(self, words: Sequence[str], tables: Sequence[tuple[IntArray, FloatArray, FloatArray]]) -> None:
        self.words, self.order, self.tables = tuple(words), len(tables), tuple(tables)
        self.number_of = {word: i for i, word in enumerate(self.words)}
        unigrams = tables[0][0][:, 0] if tables else np.zeros(0, np.int64)
        if not np.array_equal(np.sort(unigrams), np.arange(len(self.words))) or UNKNOWN not in self.number_of:
            raise DataError(f"a language model has each of its words once among the unigrams, and {UNKNOWN} too")
        self._backoff = np.zeros(1 + sum(len(grams) for grams, _, _ in tables[:-1]))
        self._shorter = np.zeros(len(self._backoff), np.int64)
        self._keys, self._logps, self._next = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
        first = 1
        for table in tables:
            first = self._add(*table, first)
        begin = self.number_of.get(BEGIN)
        self.start = 0 if begin is None else int(self.score(np.zeros(1, np.int64), np.array([begin]))[1][0])

    def _add(self, grams: IntArray, logps: FloatArray, backoffs: FloatArray, first: int) -> int:
        """Arcs of one order, whose own states are numbered from `first`."""
        logps, backoffs = np.maximum(logps, FLOOR), np.maximum(backoffs, FLOOR)
        history = self._histories(grams)
        keys = history * len(self.words) + grams[:, -1]
        if len(np.unique(keys)) != len(keys):
            raise DataError(f"a {grams.shape[1]}-gram of the language model stands there twice")
        after = np.zeros(len(keys), np.int64)
        if grams.shape[1] > 1:
            after = self.score(self._shorter[history], grams[:, -1])[1]
        if grams.shape[1] < self.order:
            own = np.arange(first, first + len(keys))
            self._backoff[own], self._shorter[own] = backoffs, after
            after = own
        keys = np.concatenate((self._keys, keys))
        ranks = np.argsort(keys, kind="stable")
        self._keys, self._logps = keys[ranks], np.concatenate((self._logps, logps))[ranks]
        self._next = np.concatenate((self._next, after))[ranks]
        return first + len(grams)

    def _histories(self, grams: IntArray) -> IntArray:
        """States [A] of all words but the last."""
        state = np.zeros(len(grams), np.int64)
        for place in range(grams.shape[1] - 1):
            found, there = self._find(state, grams[:, place])
            if not there.all():
                gram = grams[np.flatnonzero(~there)[0]]
                text = " ".join(self.words[i] for i in gram)
                raise DataError(f"the language model has {text!r}, but not the {place + 1}-gram it begins with")
            state = self._next[found]
        return state

    def _find(self, states: IntArray, words: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """Places of arcs [M], and whether they are there."""
        wanted = states * len(self.words) + words
        found = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return found, self._keys[found] == wanted

    def score(self, states: IntArray, words: IntArray) -> tuple[FloatArray, IntArray]:
        """Log probabilities [M] of words [M] after states [M], and the states [M] after them."""
        logps, after = np.zeros(len(states)), np.zeros(len(states), np.int64)
        left, states = np.arange(len(states)), states.copy()
        while len(left):
            found, there = self._find(states[left], words[left])
            arcs, done = found[there], left[there]
            logps[done] += self._logps[arcs]
            after[done] = self._next[arcs]
            left = left[~there]
            logps[left] += self._backoff[states[left]]
            states[left] = self._shorter[states[left]]
        return logps, after

    def unigrams(self) -> FloatArray:
        """Log probabilities [W] of every word on its own."""
        return self.score(np.zeros(len(self.words), np.int64), np.arange(len(self.words)))[0]

    def end(self, states: IntArray) -> FloatArray:
        """Log probabilities [M] that a sentence ends after states [M]; 0 where the model has no end."""
        end = self.number_of.get(END)
        return np.zeros(len(states)) if end is None else self.score(states, np.full(len(states), end))[0]

    def numbers(self, words: Iterable[str]) -> IntArray:
        """Numbers of words; that of <unk> for those the model lacks."""
        return np.array([self.number_of.get(word, self.unknown) for word in words], np.int64)

    @property
    def num_states(self) -> int:
        """How many histories the model tells apart."""
        return len(self._backoff)

    @property
    def unknown(self) -> int:
        """The number of <unk>."""
        return self.number_of[UNKNOWN]

    def sentence(self, words: Sequence[str]) -> float:
        """Log probability of a whole sentence, its end included."""
        total, state = 0.0, np.array([self.start])
        for number in self.numbers(words):
            logp, state = self.score(state, np.array([number]))
            total += float(logp[0])
        return total + float(self.end(state)[0])
