"""Prefix beam search: equal to the sum over all alignments, whatever the chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.decoders import prefix_beam
from speechssl.decoders.ngram_fit import fit_ngrams
from speechssl.decoders.prefix_beam import PrefixBeam
from speechssl.decoders.scorers import NoScorer, SymbolScorer
from speechssl.errors import ConfigError
from tests.decoders.slow import all_texts, random_log_probs, sentence

SHAPES = st.tuples(st.integers(0, 2**31), st.integers(0, 5), st.integers(1, 4), st.integers(0, 3))
SYMBOLS = ("<blank>", "a", "b", "|")
MODEL = fit_ngrams([list("ab|a"), list("abba"), list("b|ab"), list("a")], order=3).model


def beam(num_symbols: int, blank: int, width: int = 10_000, **thresholds: float) -> PrefixBeam:
    return PrefixBeam(NoScorer(num_symbols, blank=blank), blank=blank, beam=width, **thresholds)


@settings(max_examples=40, deadline=None)
@given(SHAPES)
def test_a_wide_beam_gives_every_text_the_sum_over_its_alignments(shape: tuple[int, int, int, int]) -> None:
    seed, num_frames, num_symbols, blank = shape
    blank = min(blank, num_symbols - 1)
    log_probs = random_log_probs(seed, num_frames, num_symbols)
    search = beam(num_symbols, blank)
    search.step(log_probs)
    found, expected = search.candidates(10_000), all_texts(log_probs, blank)
    assert {c.labels for c in found} == set(expected) and len(found) == len(expected)
    for candidate in found:
        assert candidate.score == candidate.acoustic == pytest.approx(expected[candidate.labels], abs=1e-9)
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    assert np.logaddexp.reduce([c.score for c in found]) == pytest.approx(0, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 5), st.floats(0, 3), st.floats(-2, 2))
def test_symbols_of_a_language_model_count_as_its_definition_says(
    seed: int, num_frames: int, weight: float, bonus: float
) -> None:
    log_probs = random_log_probs(seed, num_frames, 4)
    search = PrefixBeam(SymbolScorer(MODEL, SYMBOLS, blank=0, weight=weight, bonus=bonus), blank=0, beam=10_000)
    search.step(log_probs)
    expected = all_texts(log_probs, 0)
    found = search.candidates(10_000)
    assert {c.labels for c in found} == set(expected)
    for candidate in found:
        language = weight * sentence(MODEL, [SYMBOLS[i] for i in candidate.labels]) + bonus * len(candidate.labels)
        assert candidate.language == pytest.approx(language, abs=1e-9)
        assert candidate.score == pytest.approx(expected[candidate.labels] + language, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 9), max_size=5), st.integers(1, 6))
def test_chunks_change_nothing(seed: int, sizes: list[int], width: int) -> None:
    log_probs = random_log_probs(seed, sum(sizes) + 3, 4)
    whole, parts = (
        PrefixBeam(SymbolScorer(MODEL, SYMBOLS, blank=0, weight=0.7), blank=0, beam=width, symbol_threshold=4)
        for _ in range(2)
    )
    whole.step(log_probs)
    for chunk in np.split(log_probs, np.cumsum(sizes)):
        parts.step(chunk)
    assert whole.candidates(width) == parts.candidates(width)
    assert whole.candidates(width, finished=False) == parts.candidates(width, finished=False)


def test_a_narrow_beam_keeps_lower_bounds_and_a_wider_one_finds_the_best() -> None:
    """The best text of a b a is spread over many alignments; a beam of one follows the likeliest beginning."""
    for seed in range(20):
        log_probs = random_log_probs(seed, 6, 3, scale=0.7)
        expected = all_texts(log_probs, 0)
        for width in (1, 2, 5, 500):
            search = beam(3, 0, width)
            search.step(log_probs)
            found = search.candidates(width)
            assert len(found) <= width
            assert all(c.score <= expected[c.labels] + 1e-9 for c in found)
        assert found[0].labels == max(expected, key=lambda text: expected[text])


def test_thresholds_leave_out_what_is_below_them() -> None:
    log_probs = np.log([[0.5, 0.4, 0.1], [0.5, 0.1, 0.4]])
    search = beam(3, 0, symbol_threshold=1.0)  # 0.1 is 1.6 below 0.5, 0.4 is 0.2 below
    search.step(log_probs)
    assert {c.labels for c in search.candidates(99)} == {(), (1,), (2,), (1, 2)}
    assert search.candidates(99)[1].labels == (1,)
    assert np.exp(search.candidates(99)[1].score) == pytest.approx(0.4 * (0.5 + 0.1))
    search = beam(3, 0, beam_threshold=0.5)
    search.step(log_probs[:1])
    assert {c.labels for c in search.candidates(99)} == {(), (1,)}


def test_impossible_symbols_are_no_candidates() -> None:
    with np.errstate(divide="ignore"):
        log_probs = np.log([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    search = beam(3, 0)
    search.step(log_probs)
    assert [(c.labels, c.score) for c in search.candidates(9)] == [((1,), pytest.approx(0))]


def test_forgetting_dead_beginnings_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs = random_log_probs(3, 300, 5)

    def decoded() -> tuple[list[prefix_beam.Candidate], int]:
        search = beam(5, 0, 8)
        search.step(log_probs)
        return search.candidates(8), search._tree.size

    expected, most = decoded()
    monkeypatch.setattr(prefix_beam, "_COLLECT", 50)
    found, fewer = decoded()
    assert found == expected and fewer < most / 2


@pytest.mark.parametrize("words", [{"width": 0}, {"beam_threshold": 0.0}, {"symbol_threshold": -1.0}])
def test_settings_without_sense_are_refused(words: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        beam(3, 0, **words)  # type: ignore[arg-type]


def test_a_model_of_words_is_no_model_of_symbols() -> None:
    with pytest.raises(ConfigError, match="is it one of words"):
        SymbolScorer(fit_ngrams([["other", "words"]], order=1).model, SYMBOLS, blank=0, weight=1)
