"""How closely frequencies follow Zipf's law: the exponent of p(r) ~ r^-s over ranks 1..R, by maximum likelihood.

The distribution is cut at R, so that every s is possible, as those below 1 that units have. The fit is the discrete
one of Clauset, Shalizi & Newman (arXiv:0706.1062), section 3, with finite support: at the best s the expected log rank
is the observed one, and the likelihood has no other summit. A straight line through the log-log plot is not the same:
it weighs the rarest ranks most.

Ranks are taken from the same counts, which makes s a little too high where counts are small, and the standard error,
which does not know of it, too small (Piantadosi 2014, "Zipf's word frequency law in natural language").

R ranks.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_STEEPEST = 200.0  # 2^-200 of the tokens at rank 2: nobody counts so many
_STEPS = 200


@dataclass(frozen=True)
class ZipfFit:
    """The best exponent; nan where no exponent is best (fewer than two ranks, or all tokens at one end)."""

    exponent: float
    standard_error: float  # of s, from the curvature of the likelihood
    distance: float  # Kolmogorov-Smirnov: the largest difference of both distribution functions, 0..1
    ranks: int  # R
    tokens: int


def fit_zipf(counts: NDArray[np.integer]) -> ZipfFit:
    """Of counts [R] in the order of their ranks: `np.sort(counts)[::-1]`, or ranks that are known otherwise."""
    tokens, ranks = int(counts.sum()), len(counts)
    undefined = ZipfFit(math.nan, math.nan, math.nan, ranks, tokens)
    if ranks < 2 or not tokens:
        return undefined
    logs = np.log(np.arange(1, ranks + 1))
    wanted = float(counts @ logs / tokens)
    low, high = -_STEEPEST, _STEEPEST
    if not _moments(logs, high)[0] < wanted < _moments(logs, low)[0]:
        return undefined
    exponent = 1.0
    for _ in range(_STEPS):  # Newton's method, halving where it would leave what is known to hold the answer
        mean, variance = _moments(logs, exponent)
        low, high = (exponent, high) if mean > wanted else (low, exponent)
        step = (mean - wanted) / variance if variance > 0 else math.inf
        better = exponent + step if low < exponent + step < high else (low + high) / 2
        if abs(better - exponent) <= 1e-12 * max(1.0, abs(better)):
            break
        exponent = better
    error = 1 / math.sqrt(tokens * _moments(logs, exponent)[1])
    distance = float(np.abs(np.cumsum(counts) / tokens - np.cumsum(_shares(logs, exponent))).max())
    return ZipfFit(exponent, error, distance, ranks, tokens)


def _shares(logs: FloatArray, exponent: float) -> FloatArray:
    """The distribution over ranks."""
    weights = np.exp(-exponent * (logs if exponent >= 0 else logs - logs[-1]))
    return weights / weights.sum()


def _moments(logs: FloatArray, exponent: float) -> tuple[float, float]:
    """Mean and variance of the log rank."""
    shares = _shares(logs, exponent)
    mean = float(shares @ logs)
    return mean, float(shares @ np.square(logs - mean))
