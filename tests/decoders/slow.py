"""Slow forms that the decoders are checked against: every path, every n-gram by the definition."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from speechssl.decoders.ngram import FloatArray, NgramModel


def normalized(values: object) -> FloatArray:
    """Log probabilities of any numbers [T, V]."""
    x = np.asarray(values, np.float64)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def random_log_probs(seed: int, num_frames: int, num_symbols: int, scale: float = 2.0) -> FloatArray:
    return normalized(np.random.default_rng(seed).normal(size=(num_frames, num_symbols)) * scale)


def paths(log_probs: FloatArray, blank: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """Every alignment: its frames' symbols, the text it stands for, its log probability."""
    num_frames, num_symbols = log_probs.shape
    for path in itertools.product(range(num_symbols), repeat=num_frames):
        text = tuple(c for i, c in enumerate(path) if c != blank and (i == 0 or path[i - 1] != c))
        yield path, text, math.fsum(log_probs[t, c] for t, c in enumerate(path))


def all_texts(log_probs: FloatArray, blank: int) -> dict[tuple[int, ...], float]:
    """Log probability of every text, summed over its alignments."""
    found: dict[tuple[int, ...], float] = {}
    for _, text, score in paths(log_probs, blank):
        found[text] = float(np.logaddexp(found.get(text, -np.inf), score))
    return found


def entries(model: NgramModel) -> dict[tuple[str, ...], tuple[float, float]]:
    """Log probability and back-off weight of every n-gram."""
    return {
        tuple(model.words[i] for i in gram): (float(logp), float(backoff))
        for table in model.tables
        for gram, logp, backoff in zip(*table, strict=True)
    }


def backed_off(model: NgramModel, history: Sequence[str], word: str) -> float:
    """log p(word | history) by the definition, from the tables of a model."""
    table = entries(model)
    word = word if (word,) in table else "<unk>"
    before = tuple(w if (w,) in table else "<unk>" for w in history)[max(0, len(history) - model.order + 1) :]
    total = 0.0
    while (*before, word) not in table:
        total += table.get(before, (0.0, 0.0))[1]
        before = before[1:]
    return total + table[(*before, word)][0]


def sentence(model: NgramModel, words: Sequence[str], *, end: bool = True) -> float:
    said = ["<s>", *words, *(["</s>"] if end else [])]
    return math.fsum(backed_off(model, said[:i], said[i]) for i in range(1, len(said)))
