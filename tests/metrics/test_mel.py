"""Smoothness of mels, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.errors import DataError
from speechssl.metrics.mel import compare

REAL = np.array([[0.0, 2.0], [4.0, 2.0], [0.0, 8.0], [4.0, 8.0]])


def test_scores_by_hand() -> None:
    made = REAL / 2  # variances a quarter, edges half
    found = compare([(REAL, made)])
    assert found.l1 == pytest.approx((4 + 10) / 8) and found.sharpness_ratio == pytest.approx(0.5)
    assert found.variance_ratio == pytest.approx(0.25)


@given(st.integers(0, 1000))
def test_the_same_is_the_same_and_the_mean_of_all_is_smooth(seed: int) -> None:
    real = np.random.default_rng(seed).normal(size=(9, 4))
    same, smooth = compare([(real, real)]), compare([(real, np.full_like(real, real.mean()))])
    assert (same.l1, same.variance_ratio, same.sharpness_ratio) == pytest.approx((0, 1, 1))
    assert smooth.variance_ratio < 1e-9 and smooth.sharpness_ratio == 0


def test_what_cannot_be_compared_is_refused() -> None:
    for wrong in ([], [(REAL, REAL[:3])], [(REAL[:1], REAL[:1])]):
        with pytest.raises(DataError, match="pairs of one shape"):
            compare(wrong)
