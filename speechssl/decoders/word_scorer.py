"""A lexicon, and a language model of its words, for beam search; in vocabularies with and without a word boundary.

With a boundary symbol a word ends where that is written, and words that the lexicon lacks may be allowed. Without one,
as in phones, every symbol may end a word, if the lexicon has one there. Words of one spelling are alternatives, each
its own hypothesis. Until a word has ended, its hypothesis is given the best that it may still become: the largest
weighted unigram of the words that begin like it, which is taken back with the word's own score. Scores of whole
utterances do not depend on that; what the beam keeps does.
State: node of the lexicon (-1: outside it), state of the language model. M hypotheses, V symbols, A labels, N nodes.
"""

from collections.abc import Sequence

import numpy as np

from speechssl.decoders.lexicon import Lexicon
from speechssl.decoders.ngram import FloatArray, IntArray, NgramModel
from speechssl.errors import ConfigError


class WordScorer:
    """weight * log p(word | words before) + bonus for each word, weight * log p(end).

    boundary: number of the symbol between words, or None. unknown: what a word outside the lexicon costs beside the
    model's <unk>; None: there are none. model None: the lexicon alone.
    """

    def __init__(
        self, lexicon: Lexicon, model: NgramModel | None, *, num_symbols: int, blank: int, boundary: int | None,
        weight: float = 1.0, bonus: float = 0.0, unknown: float | None = None,
    ) -> None:  # fmt: skip
        if boundary is None and unknown is not None:
            raise ConfigError("words outside the lexicon can be found only where a symbol stands between words")
        most = int(lexicon.num_entries.max())
        self._num_ways = most if boundary is not None else most + 1
        self.num_labels, self.symbol_of = self._num_ways * num_symbols, np.tile(np.arange(num_symbols), self._num_ways)
        self._num_symbols, self._boundary, self._blank = num_symbols, boundary, blank
        self._lexicon, self._model, self._weight, self._bonus, self._unknown = lexicon, model, weight, bonus, unknown
        values = np.zeros(len(lexicon.words))
        unknown_value = 0.0
        if model is not None:
            self._numbers = model.numbers(lexicon.words)
            values, unknown_value = weight * model.unigrams()[self._numbers], weight * model.unigrams()[model.unknown]
        hopes = lexicon.best_below(values)
        hopes[0] = 0.0
        self._hopes = np.append(hopes, unknown_value + (unknown or 0.0))  # [N + 1], the last that of node -1

    def start(self) -> IntArray:
        """Between words, after the model's <s>."""
        return np.array([[0, 0 if self._model is None else self._model.start]])

    def gains(self, states: IntArray) -> FloatArray:
        """For symbols within a word the change in what it may become; its score where it ends."""
        gains = np.full((len(states), self.num_labels), -np.inf)
        nodes = states[:, 0]
        hopes = self._hopes[nodes]
        if self._unknown is not None:
            gains[:, : self._num_symbols] = (self._hopes[-1] - hopes)[:, None]
        inside = np.flatnonzero(nodes >= 0)
        rows, children = self._lexicon.children(nodes[inside])
        rows = inside[rows]
        symbols = self._lexicon.symbol[children]
        if self._boundary is None:
            many = self._lexicon.first_child[1:][children] > self._lexicon.first_child[children]
            gains[rows[many], symbols[many]] = (self._hopes[children] - hopes[rows])[many]
            for way in range(1, self._num_ways):
                ends = self._lexicon.num_entries[children] >= way
                value = self._word(states[rows[ends], 1], children[ends], way - 1)[0]
                gains[rows[ends], symbols[ends] + way * self._num_symbols] = value - hopes[rows[ends]]
        else:
            gains[rows, symbols] = self._hopes[children] - hopes[rows]
            gains[:, self._boundary :: self._num_symbols] = self._endings(states)[0] - hopes[:, None]
        gains[:, self._blank] = -np.inf
        return gains

    def advance(self, states: IntArray, labels: IntArray) -> IntArray:
        """The node after the symbol, or the root and the model's next state where a word ends."""
        ways, symbols = labels // self._num_symbols, labels % self._num_symbols
        result = states.copy()
        result[:, 0] = self._lexicon.step(states[:, 0], symbols)
        if self._boundary is None:
            for way in range(1, self._num_ways):
                ends = np.flatnonzero(ways == way)
                result[ends, 1] = self._word(states[ends, 1], result[ends, 0], way - 1)[1]
            result[ways > 0, 0] = 0
        elif len(ends := np.flatnonzero(symbols == self._boundary)):
            result[ends, 1] = self._endings(states[ends])[1][np.arange(len(ends)), ways[ends]]
            result[ends, 0] = 0
        return result

    def finish(self, states: IntArray) -> FloatArray:
        """The score of a word that ends with the utterance, the best of those spelled so, and of the model's end."""
        if self._boundary is None:
            return np.where(states[:, 0] == 0, self._end(states[:, 1]), -np.inf)
        values, after = self._endings(states)
        both = values + self._end(after.ravel()).reshape(after.shape)
        return both.max(1) - self._hopes[states[:, 0]]

    def words(self, labels: Sequence[int]) -> list[tuple[str | None, int, int]]:
        """The words of a whole utterance: text (None: outside the lexicon), first label, one past the last letter."""
        states, begin, found = self.start(), 0, []
        for place, label in enumerate([*labels, -1]):
            way, symbol = divmod(label, self._num_symbols)
            if label < 0 and (self._boundary is None or begin == place):
                break
            if self._boundary is None:
                node = int(self._lexicon.step(states[:, 0], np.array([symbol]))[0])
                if way:
                    found.append((self._text(node, way - 1), begin, place + 1))
                    begin = place + 1
            elif label < 0 or symbol == self._boundary:
                if label < 0:
                    values, after = self._endings(states)
                    way = int(np.argmax(values[0] + self._end(after[0])))
                if begin < place:
                    found.append((self._text(int(states[0, 0]), way), begin, place))
                begin = place + 1
            if label >= 0:
                states = self.advance(states, np.array([label]))
        return found

    def _text(self, node: int, way: int) -> str | None:
        if node < 0 or way >= self._lexicon.num_entries[node]:
            return None
        return self._lexicon.words[self._lexicon.entry[self._lexicon.first_entry[node] + way]]

    def _end(self, states: IntArray) -> FloatArray:
        return np.zeros(len(states)) if self._model is None else self._weight * self._model.end(states)

    def _word(self, states: IntArray, nodes: IntArray, way: int) -> tuple[FloatArray, IntArray]:
        """Score [M] of the way-th word of nodes that have one, after states [M] of the model, and its next states."""
        return self._scored(states, None if self._model is None else self._numbers[
            self._lexicon.entry[self._lexicon.first_entry[nodes] + way]])  # fmt: skip

    def _scored(self, states: IntArray, numbers: IntArray | None) -> tuple[FloatArray, IntArray]:
        if self._model is None or numbers is None:
            return np.full(len(states), self._bonus), states
        logps, after = self._model.score(states, numbers)
        return self._weight * logps + self._bonus, after

    def _endings(self, states: IntArray) -> tuple[FloatArray, IntArray]:
        """Where a boundary comes now: score [M, ways] (-inf: no such word) and next states [M, ways] of the model."""
        nodes = states[:, 0]
        values = np.full((len(states), self._num_ways), -np.inf)
        after = np.repeat(states[:, 1:], self._num_ways, axis=1)
        values[nodes == 0, 0] = 0.0  # a boundary without a word before it
        counts = np.where(nodes > 0, self._lexicon.num_entries[nodes], 0)
        for way in range(self._num_ways):
            rows = np.flatnonzero(counts > way)
            if len(rows):
                values[rows, way], after[rows, way] = self._word(states[rows, 1], nodes[rows], way)
        if self._unknown is not None and len(rows := np.flatnonzero((nodes != 0) & (counts == 0))):
            number = None if self._model is None else np.full(len(rows), self._model.unknown)
            scores, after[rows, 0] = self._scored(states[rows, 1], number)
            values[rows, 0] = scores + self._unknown
        return values, after
