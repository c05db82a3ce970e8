"""Distances of F0, by hand."""

import math

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.metrics.f0 import F0Scores, compare, ranged


def test_scores_by_hand() -> None:
    real = np.array([100.0, 200.0, 0.0, 150.0, 0.0, 400.0])
    made = np.array([200.0, 200.0, 120.0, 0.0, 0.0, 400.0])
    found = compare(real, made)
    assert (found.pairs, found.both_voiced) == (6, 3)
    assert found.voicing_error == pytest.approx(2 / 6)
    assert found.rmse_hz == pytest.approx(math.sqrt(100**2 / 3))
    assert found.rmse_cents == pytest.approx(math.sqrt(1200**2 / 3))
    assert found.gross_error == pytest.approx(1 / 3)
    x, y = np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0])  # octaves above 100 Hz
    expected = ((x - 1) * (y - y.mean())).sum() / math.sqrt(((x - 1) ** 2).sum() * ((y - y.mean()) ** 2).sum())
    assert found.correlation == pytest.approx(expected)


def test_what_is_undefined_is_nan() -> None:
    none = compare(np.zeros(2), np.array([0.0, 100.0]))
    assert none.voicing_error == 0.5 and math.isnan(none.rmse_hz) and none.both_voiced == 0
    flat = compare(np.full(3, 100.0), np.array([100.0, 110.0, 120.0]))
    assert math.isnan(flat.correlation) and not math.isnan(flat.rmse_hz)
    empty = compare(np.zeros(0), np.zeros(0))
    assert isinstance(empty, F0Scores) and math.isnan(empty.voicing_error)


def test_what_is_no_f0_is_refused() -> None:
    with pytest.raises(DataError, match="as many"):
        compare(np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="finite"):
        compare(np.array([np.nan]), np.zeros(1))


def test_the_range_of_f0_by_hand_leaves_unvoiced_frames_out() -> None:
    low = ranged(np.array([0, 100.0, 100.0, 0]))
    high = ranged(100 * 2 ** (np.arange(101) / 100) * np.array([1.0] * 101))
    assert low.spread_semitones == 0 and high.above(low) == pytest.approx(6)
    assert high.spread_semitones == pytest.approx(0.34 * 12)
    assert math.isnan(ranged(np.zeros(3)).median)
