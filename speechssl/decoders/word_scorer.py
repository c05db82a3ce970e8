"""A lexicon, and a language model of its words, for beam search; in vocabularies with and without a word boundary.

With a boundary symbol a word ends where that is written, and words that the lexicon lacks may be allowed. Without one,
as in phones, every symbol may end a word, if the lexicon has one there. Words of one spelling are alternatives, each
its own hypothesis. Until a word has ended, its hypothesis is given the best that it may still become: the largest
weighted unigram of the words that begin like it, which is taken back with the word's own score. Scores of whole
utterances do not depend on that; what the beam keeps does.
State: node of the lexicon (N: outside it), state of the language model. M hypotheses, V symbols, A labels, N nodes.
"""

from collections.abc import Sequence

import numpy as np

from speechssl.decoders.lexicon import Lexicon
from speechssl.decoders.ngram import FloatArray, IntArray, NgramModel
from speechssl.decoders.rows import Rows
from speechssl.errors import ConfigError

_NONE = -1  # the label ends no word that the language model scores


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
        values, unknown_value = np.zeros(len(lexicon.words)), unknown or 0.0
        self._numbers = np.zeros(len(lexicon.words), np.int64)  # of the model's words
        if model is not None:
            self._numbers, unigrams = model.numbers(lexicon.words), weight * model.unigrams()
            values, unknown_value = unigrams[self._numbers], unknown_value + float(unigrams[model.unknown])
        hopes = lexicon.best_below(values)
        hopes[0] = 0.0
        self._hopes = np.append(hopes, unknown_value)  # [N + 1], the last outside the lexicon
        self._rows = Rows(lexicon.num_nodes + 1, self._made)

    def start(self) -> IntArray:
        """Between words, after the model's <s>."""
        return np.array([[0, 0 if self._model is None else self._model.start]])

    def gains(self, states: IntArray) -> FloatArray:
        """For symbols within a word the change in what it may become; its score where it ends."""
        (gains, numbers, _), places = self._rows(states[:, 0])
        found = gains[places]
        if self._model is not None:
            rows, labels = np.nonzero(numbers[places] != _NONE)
            logps, _ = self._model.score(states[rows, 1], numbers[places[rows], labels])
            found[rows, labels] += self._weight * logps
        return found

    def advance(self, states: IntArray, labels: IntArray) -> IntArray:
        """The node after the symbol, or the root and the model's next state where a word ends."""
        (_, numbers, after), places = self._rows(states[:, 0])
        result = states.copy()
        result[:, 0] = after[places, labels]
        if self._model is not None:
            words = numbers[places, labels]
            if len(ends := np.flatnonzero(words != _NONE)):
                result[ends, 1] = self._model.score(states[ends, 1], words[ends])[1]
        return result

    def finish(self, states: IntArray) -> FloatArray:
        """The score of a word that ends with the utterance, the best of those spelled so, and of the model's end."""
        if self._boundary is None:
            return np.where(states[:, 0] == 0, self._end(states[:, 1]), -np.inf)
        return self._last(states).max(1)

    def words(self, labels: Sequence[int]) -> list[tuple[str | None, int, int]]:
        """The words of a whole utterance: text (None: outside the lexicon), first label, one past the last letter."""
        lexicon, outside = self._lexicon, self._lexicon.num_nodes
        found: list[tuple[str | None, int, int]] = []
        node, begin = 0, 0
        for place, label in enumerate(labels):
            way, symbol = divmod(label, self._num_symbols)
            if symbol != self._boundary:
                node = lexicon.node_of.get(node * self._num_symbols + symbol, outside)
                if way:  # only without a boundary
                    found.append((self._text(node, way - 1), begin, place + 1))
                    node, begin = 0, place + 1
                continue
            if begin < place:
                found.append((self._text(node, way), begin, place))
            node, begin = 0, place + 1
        if begin < len(labels) and self._boundary is not None:
            way = 0
            if node < outside and lexicon.num_entries[node] > 1:
                way = self._best_last(labels)
            found.append((self._text(node, way), begin, len(labels)))
        return found

    def _best_last(self, labels: Sequence[int]) -> int:
        """Which of the words of one spelling ends the utterance."""
        states = self.start()
        for label in labels:
            states = self.advance(states, np.array([label]))
        return int(self._last(states)[0].argmax())

    def _last(self, states: IntArray) -> FloatArray:
        """Score [M, ways] of the word that ends with the utterance, in each way, and of the end."""
        boundaries = np.arange(self._boundary or 0, self.num_labels, self._num_symbols)
        scores = self.gains(states)[:, boundaries]
        for way, label in enumerate(boundaries):
            rows = np.flatnonzero(scores[:, way] > -np.inf)
            if len(rows):
                after = self.advance(states[rows], np.full(len(rows), label))
                scores[rows, way] += self._end(after[:, 1])
        return scores

    def _text(self, node: int, way: int) -> str | None:
        if node >= self._lexicon.num_nodes or way >= self._lexicon.num_entries[node]:
            return None
        return self._lexicon.words[self._lexicon.entry[self._lexicon.first_entry[node] + way]]

    def _end(self, states: IntArray) -> FloatArray:
        return np.zeros(len(states)) if self._model is None else self._weight * self._model.end(states)

    def _made(self, nodes: IntArray) -> tuple[FloatArray, IntArray, IntArray]:
        """Of nodes [M]: gains [M, A] without the model, the word of the model that a label ends, the next node."""
        lexicon, outside = self._lexicon, self._lexicon.num_nodes
        gains = np.full((len(nodes), self.num_labels), -np.inf)
        numbers, after = np.full(gains.shape, _NONE), np.zeros(gains.shape, np.int64)
        hopes = self._hopes[nodes]
        if self._unknown is not None:
            gains[:, : self._num_symbols] = (self._hopes[outside] - hopes)[:, None]
            after[:, : self._num_symbols] = outside
        inside = np.flatnonzero(nodes < outside)
        rows, children = lexicon.children(nodes[inside])
        rows, symbols = inside[rows], lexicon.symbol[children]
        on = np.ones(len(rows), bool) if self._boundary is not None else lexicon.num_children[children] > 0
        gains[rows[on], symbols[on]] = self._hopes[children[on]] - hopes[rows[on]]
        after[rows[on], symbols[on]] = children[on]
        if self._boundary is None:
            for way in range(1, self._num_ways):
                ends = lexicon.num_entries[children] >= way
                labels = symbols[ends] + way * self._num_symbols
                entries = lexicon.entry[lexicon.first_entry[children[ends]] + way - 1]
                gains[rows[ends], labels] = self._bonus - hopes[rows[ends]]
                numbers[rows[ends], labels] = self._numbers[entries]
        else:
            self._end_words(nodes, gains, numbers)
            after[:, self._boundary :: self._num_symbols] = 0
        gains[:, self._blank] = -np.inf
        return gains, numbers, after

    def _end_words(self, nodes: IntArray, gains: FloatArray, numbers: IntArray) -> None:
        """Fill in what the boundary does after nodes [M]."""
        lexicon, hopes = self._lexicon, self._hopes[nodes]
        assert self._boundary is not None
        gains[:, self._boundary] = np.where(nodes == 0, 0.0, -np.inf)  # a boundary without a word before it
        counts = np.append(lexicon.num_entries, 0)[nodes]
        for way in range(self._num_ways):
            rows, label = np.flatnonzero(counts > way), self._boundary + way * self._num_symbols
            gains[rows, label] = self._bonus - hopes[rows]
            numbers[rows, label] = self._numbers[lexicon.entry[lexicon.first_entry[nodes[rows]] + way]]
        if self._unknown is not None:
            rows = np.flatnonzero((nodes != 0) & (counts == 0))
            gains[rows, self._boundary] = self._bonus + self._unknown - hopes[rows]
            numbers[rows, self._boundary] = 0 if self._model is None else self._model.unknown
