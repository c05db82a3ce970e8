"""Rows that are kept: the same as made anew, also where there are too many to keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.decoders import rows
from speechssl.decoders.ngram import IntArray
from speechssl.decoders.rows import Rows


def made(keys: IntArray) -> tuple[IntArray, IntArray]:
    return keys[:, None] * np.array([1, 10]), keys[:, None] + np.arange(3)


@given(st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=80), max_size=9), st.booleans())
def test_rows_are_what_is_made(questions: list[list[int]], few: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if few:
            patch.setattr(rows, "_MOST_BYTES", 90 * 5 * 8)
        table = Rows(300, made)
        for question in questions:
            keys = np.array(question)
            arrays, places = table(keys)
            for array, expected in zip(arrays, made(keys), strict=True):
                assert array[places].tolist() == expected.tolist()
            assert not few or len(arrays[0]) <= 128


def test_each_row_is_made_once() -> None:
    asked: list[int] = []

    def counted(keys: IntArray) -> tuple[IntArray]:
        asked.extend(keys.tolist())
        return (keys[:, None],)

    table = Rows(9, counted)
    asked.clear()
    for keys in ([3, 3, 4], [4, 5], [3]):
        table(np.array(keys))
    assert asked == [3, 4, 5]
