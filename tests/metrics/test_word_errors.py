"""Word errors: by hand, against jiwer, intervals against slow draws."""

import math

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.errors import ConfigError
from speechssl.metrics import bootstrap as bootstraps
from speechssl.metrics.bootstrap import Quotient, bootstrap, compare
from speechssl.metrics.text_rules import TextRules
from speechssl.metrics.word_errors import EditCounts, align_words, count_edits

WORDS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "c"]), max_size=9)


def test_the_example_by_hand() -> None:
    """a b c d -> a x d e: b replaced, c left out, e put in."""
    found = count_edits(list("abcd"), list("axde"))
    assert found.hits in (1, 2)  # another alignment has three replaced
    assert found.errors == 3 and found.reference == 4 and found.rate == 0.75
    assert count_edits("abc", "ac") == EditCounts(2, 0, 1, 0)
    assert count_edits([], ["a"]) == EditCounts(0, 0, 0, 1) and math.isnan(count_edits([], ["a"]).rate)
    assert count_edits(["a"], []) + count_edits([], ["a", "b"]) == EditCounts(0, 0, 1, 2)


@settings(max_examples=150, deadline=None)
@given(WORDS.filter(bool), WORDS)
def test_counts_equal_those_of_jiwer(reference: list[str], hypothesis: list[str]) -> None:
    one, other = " ".join(reference), " ".join(hypothesis)
    for found, theirs in (
        (count_edits(reference, hypothesis), jiwer.process_words(one, other)),
        (count_edits(one, other), jiwer.process_characters(one, other)),
    ):
        assert found == EditCounts(theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
        assert found.rate == pytest.approx(theirs.wer if isinstance(theirs, jiwer.WordOutput) else theirs.cer)


@given(WORDS, WORDS)
def test_words_side_by_side_are_both_texts_with_as_many_differences_as_errors(
    reference: list[str], hypothesis: list[str]
) -> None:
    pairs = align_words(reference, hypothesis)
    assert [a for a, _ in pairs if a] == reference and [b for _, b in pairs if b] == hypothesis
    assert sum(a != b for a, b in pairs) == count_edits(reference, hypothesis).errors


def slow_draws(values: list[tuple[int, ...]], num_draws: int, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    chosen = random.integers(0, len(values), (num_draws, len(values)))
    return [[sum(values[i][k] for i in row) for k in range(len(values[0]))] for row in chosen]


def test_intervals_are_percentiles_of_the_rate_of_drawn_utterances() -> None:
    errors, others, lengths = [1, 0, 4, 2, 0], [1, 1, 3, 0, 0], [3, 0, 5, 4, 6]
    draws = slow_draws(list(zip(errors, others, lengths, strict=True)), 200, seed=3)
    found = bootstrap(Quotient(errors, lengths), num_draws=200, level=0.9, seed=3)
    rates = [a / n for a, _, n in draws if n]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(rates, [0.05, 0.95])))
    both = compare(Quotient(errors, lengths), Quotient(others, lengths), num_draws=200, level=0.9, seed=3)
    differences = np.array([(a - b) / n for a, b, n in draws if n])
    assert both.difference == pytest.approx((7 - 5) / 18)
    assert (both.interval.low, both.interval.high) == pytest.approx(tuple(np.quantile(differences, [0.05, 0.95])))
    ties = (differences == 0).mean()
    assert ties > 0 and both.share_below == pytest.approx((differences < 0).mean() + ties / 2)


def test_groups_are_drawn_whole() -> None:
    """Two speakers, one of no errors and one of errors only: rates of 0, 1/2 and 1 and nothing between."""
    errors, lengths = np.array([0, 0, 1, 1]), np.ones(4, np.int64)
    groups = ["s", "s", "t", "t"]
    draws = bootstraps.drawn_sums(np.stack((errors, lengths), 1), 50, 0, groups)
    assert set((draws[:, 0] / draws[:, 1]).tolist()) == {0, 0.5, 1}


def test_many_draws_are_made_in_parts_that_change_nothing_but_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, lengths = np.arange(7), np.full(7, 9)
    whole = bootstrap(Quotient(errors, lengths), num_draws=30, level=0.5, seed=1)
    monkeypatch.setattr(bootstraps, "_CHUNK", 20)
    assert bootstrap(Quotient(errors, lengths), num_draws=30, level=0.5, seed=1) == whole


def test_undefined_rates() -> None:
    found = bootstrap(Quotient([1], [0]), num_draws=9, level=0.9, seed=0)
    assert math.isnan(found.low) and math.isnan(found.high)
    both = compare(Quotient([1], [0]), Quotient([2], [0]), num_draws=9, level=0.9, seed=0)
    assert math.isnan(both.difference) and math.isnan(both.share_below)
    for draws, level in ((0, 0.5), (5, 1.0), (5, 0.0)):
        with pytest.raises(ConfigError, match="take"):
            bootstrap(Quotient([1], [1]), num_draws=draws, level=level, seed=0)


@pytest.mark.parametrize(
    ("rules", "text", "expected"),
    [
        (TextRules(), "  e\u0301t\u00e9 \u00a0 Ah! ", "\u00e9t\u00e9 Ah!"),
        (TextRules(case="lower"), "\u0130A ÉTÉ", "i̇a été"),
        (TextRules(punctuation="remove"), "« L'été, c’est - 'ça'... »", "L'été c’est ça"),
        (TextRules(punctuation="remove"), "well-known a.b", "well known a b"),
        (TextRules(punctuation="remove"), "?!", ""),
    ],
)
def test_text_rules(rules: TextRules, text: str, expected: str) -> None:
    assert rules(text) == expected and rules(rules(text)) == expected


def test_other_rules_are_refused() -> None:
    with pytest.raises(ConfigError, match="keep or lower"):
        TextRules(case="upper")  # type: ignore[arg-type]
