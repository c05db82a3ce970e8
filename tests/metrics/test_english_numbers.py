"""Figures in English words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.cli._scores._judges import plain
from speechssl.metrics.english_numbers import spelled
from speechssl.metrics.text_rules import TextRules


@pytest.mark.parametrize(("text", "words"), [
    ("press 1 or 12.", "press one or twelve"), ("20", "twenty"), ("47", "forty seven"), ("105", "one hundred five"),
    ("8500", "eight thousand five hundred"), ("162,000", "one hundred sixty two zero zero zero"),
    ("999999", "nine hundred ninety nine thousand nine hundred ninety nine"), ("0", "zero"), ("007", "zero zero seven"),
    ("1234567", "one two three four five six seven"), ("1st 2nd 3rd 20th 21st 100th", "first second third twentieth "
     "twenty first one hundredth"), ("4th 5th 8th 9th 12th", "fourth fifth eighth ninth twelfth"),
    ("5things", "five things"), ("", ""), ("none", "none"), ("28.8", "twenty eight eight"),
])  # fmt: skip
def test_figures_are_said(text: str, words: str) -> None:
    assert plain(spelled(text)) == words


@given(st.integers(0, 999_999), st.integers(0, 999_999))
def test_other_numbers_are_said_otherwise_and_no_figure_stays(one: int, other: int) -> None:
    words = [" ".join(spelled(str(number)).split()) for number in (one, other)]
    assert (words[0] == words[1]) == (one == other)
    assert not any(letter.isdigit() for word in words for letter in word)


def test_both_sides_of_a_text_agree_by_the_rules() -> None:
    rules = TextRules("lower", "all", "english")
    assert rules("That's the 2nd, not 12.") == rules("that s the second  not twelve") == "that s the second not twelve"
    assert TextRules("lower", "remove")("That's 12.") == "that's 12"
