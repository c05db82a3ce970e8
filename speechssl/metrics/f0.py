"""How far the F0 of two recordings is apart, over pairs of frames that belong together.

F0 in Hz, 0 where unvoiced. A voicing error is a pair of which one is voiced and the other not. RMSE, in Hz and cents,
and the correlation of log F0 are over pairs that are both voiced; a pair is gross if it is more than 20 % off.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError

_GROSS = 0.2
_SEMITONES = 12 / math.log(2)  # of a natural logarithm


@dataclass(frozen=True)
class F0Scores:
    """nan where it is undefined: without pairs, without voiced ones, or without variation."""

    pairs: int
    both_voiced: int
    voicing_error: float  # share of pairs
    rmse_hz: float
    rmse_cents: float
    correlation: float
    gross_error: float  # share of both voiced


@dataclass(frozen=True)
class F0Range:
    """How high, and how far around that, voiced frames of a voice are; nan without one."""

    median: float  # log Hz
    spread_semitones: float  # half the distance of the 16th and the 84th percentile: of a normal distribution, sigma

    def above(self, other: "F0Range") -> float:
        """Semitones that its median is above another's."""
        return _SEMITONES * (self.median - other.median)


def ranged(f0: NDArray[np.floating]) -> F0Range:
    """Of F0 [T]."""
    voiced = np.log(f0[f0 > 0].astype(np.float64))
    if not len(voiced):
        return F0Range(math.nan, math.nan)
    low, median, high = np.quantile(voiced, (0.16, 0.5, 0.84))
    return F0Range(float(median), float(_SEMITONES * (high - low) / 2))


def compare(real: NDArray[np.floating], made: NDArray[np.floating]) -> F0Scores:
    """Of F0 [P] and [P], pair by pair. DataError where they are not as many, or no F0."""
    one, other = np.asarray(real, np.float64), np.asarray(made, np.float64)
    if one.shape != other.shape or one.ndim != 1 or not (np.isfinite(one) & np.isfinite(other)).all():
        raise DataError(f"F0 of {one.shape} and {other.shape} frames, which must be as many and finite")
    both = (one > 0) & (other > 0)
    count, voiced = len(one), int(both.sum())
    error = float(((one > 0) != (other > 0)).mean()) if count else math.nan
    if not voiced:
        return F0Scores(count, 0, error, math.nan, math.nan, math.nan, math.nan)
    one, other = one[both], other[both]
    logs = np.log(one), np.log(other)
    cents = 1200 / math.log(2) * (logs[1] - logs[0])
    varies = min(logs[0].std(), logs[1].std()) > 1e-12
    return F0Scores(
        count, voiced, error, float(np.sqrt(np.square(other - one).mean())), float(np.sqrt(np.square(cents).mean())),
        float(np.corrcoef(*logs)[0, 1]) if varies else math.nan, float((np.abs(other / one - 1) > _GROSS).mean()),
    )  # fmt: skip
