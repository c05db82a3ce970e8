"""n-gram language models from text by interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998).

An n-gram shorter than the order counts as often as different words stand before it, unless it begins with <s>, where
nothing can: then as often as it comes. With counts a and the three discounts D of its order,
p(w | h) = (a(h w) - D(a(h w))) / sum_x a(h x) + b(h) p(w | h without its first word),
b(h) = sum_x D(a(h x)) / sum_x a(h x); below the unigrams every word, <unk> and </s> among them, is equally likely.
D_k = k - (k + 1) Y t_(k+1) / t_k with Y = t_1 / (t_1 + 2 t_2) where t_k n-grams count k; where the text is too small
for that (a t_k of 0, or D_k outside 0..k) the order takes 0.5, 1, 1.5. These are the choices of KenLM's lmplz with
`--discount_fallback`, whose numbers it gives.
S sentences, W words, A n-grams of an order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from speechssl.decoders.ngram import BEGIN, END, UNKNOWN, FloatArray, IntArray, NgramModel
from speechssl.errors import DataError

FALLBACK = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class NgramFit:
    """A model and how it came about."""

    model: NgramModel
    discounts: tuple[tuple[float, float, float], ...]  # for counts of 1, 2, 3 and more, by order
    fallbacks: tuple[int, ...]  # orders whose discounts are FALLBACK
    sentences: int
    tokens: int  # without <s>, with </s>


def fit_ngrams(sentences: Iterable[Sequence[str]], *, order: int) -> NgramFit:
    """A model of `order` from sentences of words (or characters). Raises DataError: no word, or <s> </s> <unk> in text.

    Memory: about 100 bytes a word of text and order.
    """
    if order < 1:
        raise DataError(f"an n-gram model has an order of at least 1, not {order}")
    number_of = {UNKNOWN: 0, BEGIN: 1, END: 2}
    stream, num_sentences = [], 0
    for sentence in sentences:
        if reserved := {UNKNOWN, BEGIN, END} & set(sentence):
            raise DataError(f"{min(reserved)} stands in the text, and means something else in a language model")
        stream += [1, *(number_of.setdefault(word, len(number_of)) for word in sentence), 2]
        num_sentences += 1
    if len(number_of) == 3:
        raise DataError("no word in the text that a language model is to be learned from")
    grams = _all_ngrams(np.array(stream, np.int64), order)
    discounts, fallbacks = [], []
    for number, table in enumerate(grams, 1):
        found = _discounts(table.counts[table.words[:, 0] != 1] if number == 1 else table.counts)
        discounts.append(found or FALLBACK)
        fallbacks += [] if found else [number]
    tables = _probabilities(grams, discounts, len(number_of))
    model = NgramModel(list(number_of), tables)
    return NgramFit(model, tuple(discounts), tuple(fallbacks), num_sentences, len(stream) - num_sentences)


@dataclass(frozen=True)
class _Ngrams:
    """Of one order: words [A, n], adjusted counts [A], places of what is without the last and the first word [A]."""

    words: IntArray
    counts: IntArray
    prefix: IntArray
    suffix: IntArray


def _all_ngrams(stream: IntArray, order: int) -> list[_Ngrams]:
    """Of orders 1 to `order`. stream: <s> words </s> <s> ...; n-grams lie within a sentence."""
    raw, own = [], stream  # own[p]: place of the n-gram that begins at p
    starts = np.arange(len(stream))
    last = np.flatnonzero(stream == 2)[np.searchsorted(np.flatnonzero(stream == 2), starts)]  # where its sentence ends
    size = int(stream.max()) + 1
    before: IntArray | None = None
    for n in range(1, order + 1):
        starts = starts[starts + n - 1 <= last[starts]]
        if not len(starts):
            break
        keys = stream[starts] if before is None else before[starts] * size + stream[starts + n - 1]
        unique, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        own = np.full(len(stream), -1, np.int64)
        own[starts] = inverse
        begins = starts[first]
        words = stream[begins[:, None] + np.arange(n)]
        none = np.zeros(len(unique), np.int64)
        raw.append(_Ngrams(words, counts, none if before is None else before[begins],
                           none if before is None else before[begins + 1]))  # fmt: skip
        before = own
    adjusted = []
    for table, longer in zip(raw, [*raw[1:], None], strict=True):
        counts = table.counts
        if longer is not None:
            counts = np.bincount(longer.suffix, minlength=len(counts))
            counts[table.words[:, 0] == 1] = table.counts[table.words[:, 0] == 1]
        adjusted.append(_Ngrams(table.words, counts, table.prefix, table.suffix))
    return adjusted


def _discounts(counts: IntArray) -> tuple[float, float, float] | None:
    """D of counts 1, 2, 3 and more; None where the formula has no sound answer."""
    t = np.bincount(np.minimum(counts, 5), minlength=6).astype(float)
    if not t[1:4].all():
        return None
    y = t[1] / (t[1] + 2 * t[2])
    found = [float(k - (k + 1) * y * t[k + 1] / t[k]) for k in (1, 2, 3)]
    return (found[0], found[1], found[2]) if all(0 <= d <= k for k, d in enumerate(found, 1)) else None


def _probabilities(
    grams: list[_Ngrams], discounts: list[tuple[float, float, float]], num_words: int
) -> list[tuple[IntArray, FloatArray, FloatArray]]:
    """Words, log probabilities, back-off weights of every order, as NgramModel takes them."""
    tables: list[tuple[IntArray, FloatArray]] = []
    shorter: FloatArray = np.full(1, 1 / (num_words - 1))  # <s> is never said
    backoffs: list[FloatArray] = []
    for n, (table, discount) in enumerate(zip(grams, discounts, strict=True), 1):
        counts = np.where(table.words[:, 0] == 1, 0, table.counts) if n == 1 else table.counts
        taken = np.array([0.0, *discount])[np.minimum(counts, 3)]
        num_histories = 1 if n == 1 else len(grams[n - 2].counts)
        totals = np.bincount(table.prefix, counts, num_histories)
        weights: FloatArray = np.ones(num_histories)
        np.divide(np.bincount(table.prefix, taken, num_histories), totals, out=weights, where=totals > 0)
        own = (counts - taken) / totals[table.prefix] + weights[table.prefix] * shorter[table.suffix]
        backoffs.append(weights)
        words = table.words
        if n == 1:
            words = np.vstack((words, [[0]]))
            own = np.append(np.where(table.words[:, 0] == 1, 1.0, own), weights[0] * shorter[0])
        tables.append((words, own))
        shorter = own
    backoffs.append(np.ones(len(grams[-1].counts)))
    result = []
    with np.errstate(divide="ignore"):
        for n, (words, own) in enumerate(tables):
            weights = np.append(backoffs[n + 1], 1.0) if n == 0 else backoffs[n + 1]
            result.append((words, np.log(own), np.log(weights)))
    return result
