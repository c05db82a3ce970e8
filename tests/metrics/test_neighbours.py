"""Nearest neighbours by edit distance: against a slow form with exact fractions, and its ties by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.errors import DataError
from speechssl.metrics.neighbours import nearest_labels
from tests.metrics.test_edits import slow_distance


def arrays(lists: list[list[int]]) -> list[np.ndarray]:
    return [np.array(units, np.int64) for units in lists]


def slow_label(asked: list[int], known: list[list[int]], labels: list[int], k: int, normalised: bool) -> int:
    """Every way to break ties at the k-th place counts the same: votes are their mean."""
    far = []
    for other in known:
        edits, longest = slow_distance(asked, other), max(len(asked), len(other))
        far.append(Fraction(edits, longest) if normalised and longest else Fraction(edits))
    last = sorted(far)[k - 1]
    nearer, level = sum(d < last for d in far), sum(d == last for d in far)
    votes: dict[int, Fraction] = {}
    for distance, label in zip(far, labels, strict=True):
        share = Fraction(1) if distance < last else Fraction(k - nearer, level) if distance == last else Fraction(0)
        votes[label] = votes.get(label, Fraction(0)) + share
    nearest = {label: min(d for d, own in zip(far, labels, strict=True) if own == label) for label in votes}
    return min(votes, key=lambda label: (-votes[label], nearest[label], label))


UNITS = st.lists(st.integers(0, 3), max_size=6)


@settings(deadline=None)
@given(st.lists(UNITS, max_size=4), st.lists(st.tuples(UNITS, st.integers(0, 3)), min_size=1, max_size=12),
       st.integers(1, 12), st.booleans())  # fmt: skip
def test_they_are_those_of_the_slow_form(
    asked: list[list[int]], known: list[tuple[list[int], int]], k: int, normalised: bool
) -> None:
    k, labels = min(k, len(known)), [label for _, label in known]
    said = nearest_labels(arrays(asked), arrays([x for x, _ in known]), labels, k=k, normalised=normalised)
    assert said == [slow_label(x, [y for y, _ in known], labels, k, normalised) for x in asked]


def test_ties_by_hand() -> None:
    known = arrays([[1, 2], [1, 3], [1, 2, 9], [7, 8, 9, 7, 8, 9]])
    ask = arrays([[1, 2]])
    assert nearest_labels(ask, known, [5, 6, 6, 6], k=1) == [5]
    assert nearest_labels(ask, known, [6, 5, 5, 5], k=2) == [6]  # 1/3 to the third comes second: one vote each, 0 wins
    assert nearest_labels(ask, known, [4, 5, 5, 5], k=3) == [5]
    level = arrays([[1, 3], [1, 4], [1, 5]])  # all three at 1/2 share the one place
    assert nearest_labels(ask, level, [1, 0, 0], k=1) == [0]
    assert nearest_labels(ask, level, [1, 0, 2], k=1) == [0]  # a third of a vote each, equally near: the first label


def test_the_order_of_what_is_known_does_not_matter() -> None:
    random = np.random.default_rng(0)
    known = [random.integers(0, 4, random.integers(0, 9)) for _ in range(300)]
    asked = [random.integers(0, 4, random.integers(0, 9)) for _ in range(300)]
    labels = random.integers(0, 5, 300)
    shuffled = random.permutation(300)
    other = nearest_labels(asked, [known[i] for i in shuffled], labels[shuffled].tolist(), k=7, workers=2)
    assert nearest_labels(asked, known, labels.tolist(), k=7) == other


def test_length_decides_where_distances_are_not_normalised() -> None:
    """6 of 12 edits are half of the length, 2 of 3 are more than that, but fewer edits."""
    ask, known = arrays([[0, 1, 0] * 4]), arrays([[0, 1, 0] * 2, [0, 1, 0] * 4 + [5, 6, 7, 8, 5, 6, 7]])
    assert nearest_labels(ask, known, [0, 1], k=1) == [1]
    assert nearest_labels(ask, known, [0, 1], k=1, normalised=False) == [0]


def test_its_own_group_does_not_count() -> None:
    units = arrays([[1, 2, 3], [1, 2, 3], [1, 2], [8, 9]])
    labels, names = [0, 0, 1, 1], ["a", "b", "c", "d"]
    assert nearest_labels(units, units, labels, k=1, groups=(names, names)) == [0, 0, 0, 0]
    groups = ["x", "x", "y", "z"]  # nothing of x is left for the first two
    assert nearest_labels(units, units, labels, k=1, groups=(groups, groups)) == [1, 1, 0, 0]
    with pytest.raises(DataError, match="fewer than 3 neighbours outside"):
        nearest_labels(units, units, labels, k=3, groups=(groups, groups))


def test_what_cannot_be_found_is_refused() -> None:
    for known, labels, k in (([], [], 1), ([[1]], [0], 2), ([[1]], [0, 1], 1), ([[1]], [0], 0)):
        with pytest.raises(DataError, match="needs at least"):
            nearest_labels(arrays([[1]]), arrays(known), labels, k=k)
    with pytest.raises(DataError, match="units must be"):
        nearest_labels(arrays([[-1]]), arrays([[1]]), [0], k=1)
