"""Counts of strings of units, by hand and against a Counter."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.errors import DataError
from speechssl.metrics import ngrams
from speechssl.metrics.ngrams import NgramCounts


def counted(order: int, *rows: list[int], size: int = 4) -> NgramCounts:
    counts = NgramCounts(order, size)
    for row in rows:
        counts.add(np.array(row, np.int64))
    return counts


def test_by_hand() -> None:
    """0 1 0 1 0 2 and 3: pairs 01 01 10 10 02. After 0 comes 1 twice and 2 once, after 1 always 0."""
    rows = [0, 1, 0, 1, 0, 2], [3]
    single = counted(1, *rows).scores()
    assert (single.tokens, single.types, single.possible, single.hapaxes, single.types_of_half) == (7, 4, 4, 2, 2)
    assert single.type_token_ratio == 4 / 7
    three, two = 3 / 7 * math.log2(7 / 3), 2 / 7 * math.log2(7 / 2)
    assert single.entropy == single.conditional_entropy == pytest.approx(three + two + 2 / 7 * math.log2(7))
    pairs = counted(2, *rows).scores()
    assert (pairs.tokens, pairs.types, pairs.possible, pairs.hapaxes, pairs.types_of_half) == (5, 3, 12, 1, 2)
    assert counted(2, *rows).scores(runs=True).possible == 16
    after_0 = 2 / 3 * math.log2(3 / 2) + 1 / 3 * math.log2(3)
    assert pairs.conditional_entropy == pytest.approx(3 / 5 * after_0)
    assert counted(3, *rows).scores().tokens == 4
    keys, counts = counted(2, *rows).counts()
    assert (keys.tolist(), counts.tolist()) == ([1, 2, 4], [2, 1, 2])


@pytest.mark.parametrize("buffer", [1, 7, 1 << 20])
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 3), max_size=15), max_size=8), order=st.integers(1, 4))
def test_they_equal_a_counters_however_much_is_held_back(buffer: int, rows: list[list[int]], order: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "_LEAST_BUFFER", buffer)
        keys, counts = counted(order, *rows).counts()
    wanted = Counter(tuple(row[i : i + order]) for row in rows for i in range(len(row) - order + 1))
    strings = [tuple(np.unravel_index(key, (4,) * order)) for key in keys.tolist()]
    assert dict(zip(strings, counts.tolist(), strict=True)) == wanted and (np.diff(keys) > 0).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=15), min_size=1, max_size=8))
def test_conditional_entropy_is_that_of_its_definition(rows: list[list[int]]) -> None:
    found = counted(2, *rows).scores().conditional_entropy
    pairs = Counter((one, other) for row in rows for one, other in pairwise(row))
    before = Counter(one for one, _ in pairs.elements())
    if not pairs:
        assert math.isnan(found)
        return
    wanted = -sum(n / pairs.total() * math.log2(n / before[one]) for (one, _), n in pairs.items())
    assert found == pytest.approx(wanted, abs=1e-9)


def test_nothing_is_undefined() -> None:
    scores = counted(2, [1]).scores()
    assert (scores.tokens, scores.types, scores.types_of_half) == (0, 0, 0)
    assert math.isnan(scores.entropy) and math.isnan(scores.type_token_ratio)


def test_strings_that_no_number_can_name_are_refused() -> None:
    with pytest.raises(DataError, match="strings of 3 out of 4194304 units"):
        NgramCounts(3, 1 << 22)
    with pytest.raises(DataError, match=r"must lie in 0\.\.3"):
        counted(2, [4])
