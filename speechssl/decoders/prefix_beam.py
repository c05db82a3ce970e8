"""Prefix beam search for CTC (arXiv:1408.2873): the sum over all alignments of a text, with a language model.

A hypothesis is a sequence of labels; a label writes a symbol, and where a lexicon says so it also ends a word in one of
several ways, so that one sequence of symbols may be several hypotheses. Its score is
log P(symbols | speech) + what the scorer gives for its labels. Frames are worked off one after another, so that any
cutting into chunks gives the same. With a beam as wide as there are texts and no thresholds the scores are exact.
T frames, V symbols, A labels, B hypotheses in the beam, K numbers of a scorer's state.
"""

from dataclasses import dataclass

import numpy as np

from speechssl.decoders.ngram import FloatArray, IntArray
from speechssl.decoders.scorers import Scorer
from speechssl.errors import ConfigError

_COLLECT = 1 << 17  # nodes, after which those that nobody needs are forgotten


@dataclass(frozen=True)
class Candidate:
    """One hypothesis of a beam."""

    labels: tuple[int, ...]
    score: float  # acoustic + language
    acoustic: float  # log probability of the symbols given the speech, the sum over alignments that were looked at
    language: float  # of the scorer: weighted language model and bonuses


class PrefixBeam:
    """A search; `step` takes frames, `candidates` says what is best so far.

    beam: hypotheses kept after each frame. beam_threshold: those so much below the best one are given up (log
    probability). symbol_threshold: symbols so much below the best one of a frame are not tried as new ones there.
    """

    def __init__(
        self, scorer: Scorer, *, blank: int, beam: int, beam_threshold: float = np.inf, symbol_threshold: float = np.inf
    ) -> None:
        if beam < 1 or not beam_threshold > 0 or not symbol_threshold > 0:
            raise ConfigError(f"beam={beam} and its thresholds {beam_threshold}, {symbol_threshold} must be above 0")
        self.num_frames = 0
        self._scorer, self._blank, self._size = scorer, blank, beam
        self._beam_threshold, self._symbol_threshold = beam_threshold, symbol_threshold
        self._symbol_of = scorer.symbol_of
        self._tree = _Tree(scorer.num_labels)
        self._node = np.zeros(1, np.int64)
        self._last = np.full(1, blank)  # the symbol written last
        self._blanks, self._others = np.zeros(1), np.full(1, -np.inf)  # log probability of ending in blank, or not
        self._language = np.zeros(1)
        self._states = scorer.start()
        self._gains = scorer.gains(self._states)

    def step(self, log_probs: FloatArray) -> None:
        """Take frames: log probabilities [T, V]."""
        with np.errstate(invalid="ignore"):  # -inf - -inf, where a symbol is impossible
            for frame in np.asarray(log_probs, np.float64):
                self._frame(frame)
        self.num_frames += len(log_probs)

    def _frame(self, frame: FloatArray) -> None:
        total = np.logaddexp(self._blanks, self._others)
        blanks, others = total + frame[self._blank], self._others + frame[self._last]
        tried = frame >= frame.max() - self._symbol_threshold
        tried[self._blank] = False
        labels = np.flatnonzero(tried[self._symbol_of])
        if not len(labels):
            self._blanks, self._others = blanks, others
            return
        symbols = self._symbol_of[labels]
        new = np.where(self._last[:, None] == symbols, self._blanks[:, None], total[:, None]) + frame[symbols]
        self._merge(new, others, labels)
        stay = np.logaddexp(blanks, others) + self._language
        scores = new + (self._language[:, None] + self._gains[:, labels])
        kept, grown = self._choose(stay, scores.ravel())
        if not len(grown):
            self._blanks, self._others = blanks, others
            if len(kept) < len(stay):
                self._keep(kept)
            return
        self._blanks, self._others = blanks, others
        self._grow(kept, grown // len(labels), labels[grown % len(labels)], new.ravel()[grown])

    def _merge(self, new: FloatArray, others: FloatArray, labels: IntArray) -> None:
        """What a hypothesis gets from the one it continues, if that is in the beam: in `others`, no longer in `new`."""
        place = self._tree.places(self._node)
        column = np.full(self._scorer.num_labels + 1, -1)
        column[labels] = np.arange(len(labels))
        columns = column[self._tree.label[self._node]]
        theirs = np.flatnonzero((place >= 0) & (columns >= 0))
        if len(theirs):
            rows, columns = place[theirs], columns[theirs]
            others[theirs] = np.logaddexp(others[theirs], new[rows, columns])
            new[rows, columns] = -np.inf

    def _choose(self, stay: FloatArray, scores: FloatArray) -> tuple[IntArray, IntArray]:
        """Places of the hypotheses that stay as they are, and of those that grow, ascending."""
        everything = np.concatenate((stay, scores))
        best = everything.max()
        chosen = np.flatnonzero((everything >= best - self._beam_threshold) & (everything > -np.inf))
        if len(chosen) > self._size:
            ranks = np.argpartition(-everything[chosen], self._size - 1)[: self._size]
            chosen = chosen[np.sort(ranks)]
        cut = int(np.searchsorted(chosen, len(stay)))
        return chosen[:cut], chosen[cut:] - len(stay)

    def _keep(self, kept: IntArray) -> None:
        self._node, self._last, self._language = self._node[kept], self._last[kept], self._language[kept]
        self._blanks, self._others = self._blanks[kept], self._others[kept]
        self._states, self._gains = self._states[kept], self._gains[kept]

    def _grow(self, kept: IntArray, rows: IntArray, labels: IntArray, others: FloatArray) -> None:
        """Keep some, and continue hypotheses `rows` with `labels`, whose log probabilities are `others`."""
        language = self._language[rows] + self._gains[rows, labels]
        states = self._scorer.advance(self._states[rows], labels)
        nodes = self._tree.children(self._node[rows], labels)
        gains = self._scorer.gains(states)
        self._keep(kept)
        self._node = np.concatenate((self._node, nodes))
        self._last = np.concatenate((self._last, self._symbol_of[labels]))
        self._language = np.concatenate((self._language, language))
        self._blanks = np.concatenate((self._blanks, np.full(len(nodes), -np.inf)))
        self._others = np.concatenate((self._others, others))
        self._states = np.concatenate((self._states, states))
        self._gains = np.concatenate((self._gains, gains))
        if self._tree.size > self._tree.limit:
            self._node = self._tree.collect(self._node)

    def candidates(self, num: int = 1, *, finished: bool = True) -> list[Candidate]:
        """The `num` best, best first; finished: as whole utterances, otherwise as beginnings.

        Empty where no hypothesis in the beam is a whole utterance, as with a lexicon none of whose words fit.
        """
        acoustic = np.logaddexp(self._blanks, self._others)
        language = self._language + (self._scorer.finish(self._states) if finished else 0.0)
        scores = acoustic + language
        ranks = np.argsort(-scores, kind="stable")
        ranks = ranks[scores[ranks] > -np.inf][:num]
        return [Candidate(self._tree.path(int(self._node[i])), float(scores[i]), float(acoustic[i]), float(language[i]))
                for i in ranks]  # fmt: skip


class _Tree:
    """All hypotheses as a tree of labels; node 0 is the empty one, whose label is A."""

    def __init__(self, num_labels: int) -> None:
        self._num_labels, self.size, self.limit = num_labels, 1, _COLLECT
        self._child_of: dict[int, int] = {}
        self.parent, self.label = np.zeros(1024, np.int64), np.full(1024, num_labels)
        self._place = np.full(1024, -1)

    def places(self, nodes: IntArray) -> IntArray:
        """Where among `nodes` [B] the parent of each is, -1 where it is not. The root counts as its own."""
        self._place[nodes] = np.arange(len(nodes))
        found = self._place[self.parent[nodes]]
        self._place[nodes] = -1
        return found

    def children(self, parents: IntArray, labels: IntArray) -> IntArray:
        """The nodes [B] of these children, made where they are new."""
        while self.size + len(parents) > len(self.parent):
            self.parent = np.concatenate((self.parent, np.zeros_like(self.parent)))
            self.label = np.concatenate((self.label, np.zeros_like(self.label)))
            self._place = np.concatenate((self._place, np.full_like(self._place, -1)))
        nodes = np.zeros(len(parents), np.int64)
        for i, key in enumerate((parents * self._num_labels + labels).tolist()):
            node = self._child_of.setdefault(key, self.size)
            if node == self.size:
                self.parent[node], self.label[node] = parents[i], labels[i]
                self.size += 1
            nodes[i] = node
        return nodes

    def path(self, node: int) -> tuple[int, ...]:
        """The labels from the root to a node."""
        labels = []
        while node:
            labels.append(int(self.label[node]))
            node = int(self.parent[node])
        return tuple(reversed(labels))

    def collect(self, nodes: IntArray) -> IntArray:
        """Forget what is neither one of `nodes` nor before one; returns their new numbers."""
        alive = {0}
        for node in nodes.tolist():
            while node not in alive:
                alive.add(node)
                node = int(self.parent[node])
        old = np.array(sorted(alive))  # parents before their children, as they were made
        number = np.full(self.size, -1)
        number[old] = np.arange(len(old))
        parent, label = number[self.parent[old]], self.label[old]
        self.parent[: len(old)], self.label[: len(old)] = parent, label
        self.size = len(old)
        self.limit = max(_COLLECT, 2 * self.size)
        keys = (parent * self._num_labels + label).tolist()
        self._child_of = {key: i for i, key in enumerate(keys) if i}
        return number[nodes]
