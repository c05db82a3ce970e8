"""Beam search with lexicon and word models: equal to going through all texts and all ways to read them."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.decoders.lexicon import Lexicon
from speechssl.decoders.ngram_fit import fit_ngrams
from speechssl.decoders.prefix_beam import PrefixBeam
from speechssl.decoders.word_scorer import WordScorer
from speechssl.errors import ConfigError
from tests.decoders.slow import all_texts, random_log_probs, sentence

A, B, BOUNDARY = 1, 2, 3
# two words of one spelling, one that begins another, one that the model lacks
ENTRIES = [("ah", (A,)), ("are", (A,)), ("abba", (A, B, B)), ("abe", (A, B)), ("bee", (B,)), ("new", (B, A))]
MODEL = fit_ngrams([["ah", "bee"], ["are", "abe", "bee"], ["bee", "are"], ["abba"]], order=2).model
SCORERS = st.tuples(st.integers(0, 2**31), st.integers(0, 5), st.floats(0.1, 2), st.floats(-2, 2))


def with_boundary(text: tuple[int, ...], *, unknown: bool) -> Iterator[list[str]]:
    """Words of a text in all ways; "?" for what the lexicon lacks, where that may be."""
    groups = [group for key, group in ((k, tuple(g)) for k, g in itertools.groupby(text, lambda c: c == BOUNDARY))
              if not key]  # fmt: skip
    ways = [[word for word, spelling in ENTRIES if spelling == group] or (["?"] if unknown else []) for group in groups]
    return (list(words) for words in itertools.product(*ways))


def without_boundary(text: tuple[int, ...]) -> Iterator[list[str]]:
    if not text:
        yield []
    for word, spelling in ENTRIES:
        if text[: len(spelling)] == spelling:
            yield from ([word, *rest] for rest in without_boundary(text[len(spelling) :]))


@settings(max_examples=30, deadline=None)
@given(SCORERS, st.sampled_from([None, -1.5]))
def test_words_with_a_boundary(scorer: tuple[int, int, float, float], unknown: float | None) -> None:
    seed, num_frames, weight, bonus = scorer
    log_probs = random_log_probs(seed, num_frames, 4)
    words = WordScorer(Lexicon(ENTRIES, num_symbols=4), MODEL, num_symbols=4, blank=0, boundary=BOUNDARY,
                       weight=weight, bonus=bonus, unknown=unknown)  # fmt: skip
    search = PrefixBeam(words, blank=0, beam=100_000)
    search.step(log_probs)
    expected = {}
    for text, acoustic in all_texts(log_probs, 0).items():
        for said in with_boundary(text, unknown=unknown is not None):
            language = weight * sentence(MODEL, said) + bonus * len(said) + (unknown or 0) * said.count("?")
            expected[text, tuple(said)] = acoustic + language
    found = {}
    for candidate in search.candidates(100_000):
        text = tuple(words.symbol_of[list(candidate.labels)].tolist())
        said = tuple(word or "?" for word, _, _ in words.words(candidate.labels))
        assert (text, said) not in found
        found[text, said] = candidate.score
    for key, score in found.items():
        assert score == pytest.approx(expected[key], abs=1e-9)
    for text in {text for text, _ in expected}:  # of a last word that only the end ends, the best of one spelling
        best = max(score for (other, _), score in expected.items() if other == text)
        assert max(score for (other, _), score in found.items() if other == text) == pytest.approx(best, abs=1e-9)
    ended = {key for key in expected if key[0][-1:] == (BOUNDARY,)}
    assert ended <= set(found) and {text for text, _ in found} == {text for text, _ in expected}


@settings(max_examples=30, deadline=None)
@given(SCORERS)
def test_words_without_a_boundary(scorer: tuple[int, int, float, float]) -> None:
    seed, num_frames, weight, bonus = scorer
    log_probs = random_log_probs(seed, num_frames, 3)
    words = WordScorer(Lexicon(ENTRIES, num_symbols=3), MODEL, num_symbols=3, blank=0, boundary=None,
                       weight=weight, bonus=bonus)  # fmt: skip
    search = PrefixBeam(words, blank=0, beam=100_000)
    search.step(log_probs)
    expected = {
        (text, tuple(said)): acoustic + weight * sentence(MODEL, said) + bonus * len(said)
        for text, acoustic in all_texts(log_probs, 0).items() for said in without_boundary(text)
    }  # fmt: skip
    found = {}
    for candidate in search.candidates(100_000):
        spans = words.words(candidate.labels)
        text = tuple(words.symbol_of[list(candidate.labels)].tolist())
        assert [place for _, *span in spans for place in range(*span)] == list(range(len(text)))
        found[text, tuple(word for word, _, _ in spans)] = candidate.score
    assert found == {key: pytest.approx(score, abs=1e-9) for key, score in expected.items()}


def test_a_lexicon_alone_allows_its_words_and_counts_them() -> None:
    log_probs = random_log_probs(0, 5, 4)
    words = WordScorer(Lexicon([("abba", (A, B, B))], num_symbols=4), None, num_symbols=4, blank=0, boundary=BOUNDARY,
                       bonus=2.0)  # fmt: skip
    search = PrefixBeam(words, blank=0, beam=1000)
    search.step(log_probs)
    found = {tuple(c.labels): c.language for c in search.candidates(1000)}
    assert found[A, B, B] == found[A, B, B, BOUNDARY] == 2 and found[()] == 0 and (A, B) not in found


def test_nothing_fits_where_the_lexicon_has_no_such_word() -> None:
    """Certainly `a`, and only `b b` is a word."""
    with np.errstate(divide="ignore"):
        log_probs = np.log([[0.0, 1.0, 0.0]])
    words = WordScorer(Lexicon([("bb", (B, B))], num_symbols=3), None, num_symbols=3, blank=0, boundary=None)
    search = PrefixBeam(words, blank=0, beam=9)
    search.step(log_probs)
    assert search.candidates(9) == []


def test_unknown_words_need_a_boundary() -> None:
    with pytest.raises(ConfigError, match="only where a symbol stands between words"):
        WordScorer(Lexicon(ENTRIES, num_symbols=4), MODEL, num_symbols=4, blank=0, boundary=None, unknown=-1.0)
