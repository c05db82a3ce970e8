"""Compression and bitrates of pieces, by hand."""

import math

import numpy as np
import pytest

from speechssl.metrics.pieces import PieceCounts


def test_by_hand() -> None:
    """Six units of 4 kinds in three pieces of 16 kinds, over 2 s: 3 units/s at 2 bits, 1.5 pieces/s at 4 bits."""
    counts = PieceCounts(4, 16, unit_rate=50.0)
    counts.add(np.array([0, 1, 0, 1]), np.array([5, 5]), 60)
    counts.add(np.array([2, 3]), np.array([9]), 40)
    counts.add(np.array([], np.int64), np.array([], np.int64), 0)
    scores = counts.scores()
    assert (scores.units, scores.pieces, scores.utterances, scores.seconds) == (6, 3, 3, 2.0)
    assert (scores.units_per_piece, scores.units_per_s, scores.pieces_per_s) == (2.0, 3.0, 1.5)
    assert (scores.unit_bitrate, scores.bitrate, scores.active_pieces) == (6.0, 6.0, 2)
    third = math.log2(3)
    assert scores.unit_entropy_bitrate == pytest.approx(3 * (2 / 3 * math.log2(3) + 1 / 3 * math.log2(6)))
    assert scores.entropy_bitrate == pytest.approx(1.5 * (2 / 3 * (third - 1) + third / 3))


def test_nothing_is_undefined() -> None:
    scores = PieceCounts(4, 16, unit_rate=50.0).scores()
    assert math.isnan(scores.units_per_piece) and math.isnan(scores.bitrate) and scores.pieces == 0
