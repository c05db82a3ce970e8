"""IPA into segments."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.errors import DataError
from speechssl.phones.segments import Rules, segments

KEEP = Rules(stress=True, tone=True, length=True)


@pytest.mark.parametrize(
    ("phoneme", "expected"),
    [
        ("tʃ", ["t͡ʃ"]),  # one phoneme to espeak: an affricate
        ("t͡ʃ", ["t͡ʃ"]),
        ("t͜ʃʲ", ["t͡ʃʲ"]),  # the other tie
        ("aɪ", ["a", "ɪ"]),
        ("st", ["s", "t"]),  # no plosive first
        ("ˈɑ̃", ["ɑ̃"]),
        ("tsʲʲ", ["t͡sʲ"]),  # espeak's Romanian
        ("g", ["ɡ"]),
        ("ˈu\"", ["u"]),
        ("ˈ?ɑ", ["ɑ"]),  # espeak's Danish stød
        ("ç", ["ç"]),
        ("", []),
        ("d-", ["d"]),
    ],
)  # fmt: skip
def test_phonemes_fall_into_letters_with_their_marks(phoneme: str, expected: list[str]) -> None:
    assert segments(phoneme) == [unicodedata.normalize("NFC", segment) for segment in expected]


def test_stress_tone_and_length_are_kept_only_where_asked_for() -> None:
    assert segments("ˈaː˥", KEEP) == ["ˈaː˥"]
    assert segments("ˈaː˥", Rules(length=False)) == ["a"]
    assert segments("ˈaː˥") == ["aː"]
    assert segments("ma5", Rules(tone=True)) == ["m", "a5"]


def test_diphthongs_stay_whole_where_asked_for_and_stress_divides() -> None:
    whole = Rules(diphthongs=True)
    assert segments("aɪ", whole) == ["aɪ"]
    assert segments("ja", whole) == ["j", "a"]
    assert segments("aˈɪ", Rules(stress=True, diphthongs=True)) == ["a", "ˈɪ"]


@pytest.mark.parametrize("bad", ["1a", "͡a", "ʲa"])
def test_a_mark_without_its_letter_is_an_error_that_names_it(bad: str) -> None:
    with pytest.raises(DataError, match="before the first letter"):
        segments(bad, KEEP)


def test_what_is_no_letter_is_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match=r"U\+0040"):
        segments("a@")


LETTERS = st.sampled_from(["a", "t", "tʲ", "ɑ̃", "aː", "t͡ʃ", "ˈa", "ʃ", "ç", "k͡p"])


@given(st.lists(LETTERS), st.booleans(), st.booleans())
def test_segments_are_composed_and_segmenting_them_again_changes_nothing(
    parts: list[str], stress: bool, length: bool
) -> None:
    rules = Rules(stress=stress, length=length)
    found = segments("".join(parts), rules)
    assert all(unicodedata.is_normalized("NFC", segment) for segment in found)
    assert [segments(segment, rules) for segment in found] == [[segment] for segment in found]
