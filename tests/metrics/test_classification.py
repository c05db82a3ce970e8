"""Accuracy, macro F1 and Wilson's interval: by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from speechssl.errors import DataError
from speechssl.metrics import classification
from speechssl.metrics.classification import class_scores, wilson_interval


def test_the_example_by_hand() -> None:
    """Labels 0 0 0 1, said 0 0 1 1: F1 of 0 is 2·2/(3+2), of 1 it is 2·1/(1+2); label 2 plays no part."""
    counts = classification.confusion_matrix([0, 0, 0, 1], [0, 0, 1, 1], 3)
    assert counts.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    found = class_scores(counts, majority=0.25)
    assert found.accuracy == 0.75 and found.utterances == 4 and found.majority == 0.25
    assert found.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_they_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, said = [a for a, _ in pairs], [b for _, b in pairs]
    found = class_scores(classification.confusion_matrix(true, said, 5), majority=0.0)
    assert found.accuracy == pytest.approx(accuracy_score(true, said))
    assert found.macro_f1 == pytest.approx(f1_score(true, said, average="macro", zero_division=0))
    assert (found.confusion == confusion_matrix(true, said, labels=range(5))).all()


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (0, 10), (3, 10), (81, 263), (263, 263)])
def test_the_interval_holds_the_shares_that_a_score_test_does_not_refuse(right: int, total: int) -> None:
    """Its ends p solve (share - p)² = z² p (1 - p) / n; beyond them the test refuses."""
    for end, outer in zip(wilson_interval(right, total), (0.0, 1.0), strict=True):
        error = (right / total - end) ** 2 - 1.959964**2 * end * (1 - end) / total
        assert error == pytest.approx(0, abs=1e-7)
        beyond = (end + outer) / 2
        assert end == outer or (right / total - beyond) ** 2 > 1.959964**2 * beyond * (1 - beyond) / total


def test_the_interval_is_the_published_one() -> None:
    """81 of 263: 0.2553 to 0.3662 in Newcombe (1998), table I."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(DataError, match="no utterance"):
        class_scores(np.zeros((2, 2), np.int64), majority=0.0)
    for true, said in (([0], [2]), ([-1], [0])):
        with pytest.raises(DataError, match="must be"):
            classification.confusion_matrix(true, said, 2)
    for right, total in ((2, 1), (0, 0), (-1, 3)):
        with pytest.raises(DataError, match="no share"):
            wilson_interval(right, total)
