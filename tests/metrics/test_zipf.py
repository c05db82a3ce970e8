"""The exponent of Zipf's law: by hand, against scipy's distribution and optimiser, on samples, at the limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import zipfian

from speechssl.metrics.zipf import fit_zipf


def test_by_hand() -> None:
    """Two thirds at rank 1 of 2: 1 / (1 + 2^-s) = 2/3, so s = 1. The variance of log r is 2/9 log(2)^2."""
    fit = fit_zipf(np.array([2, 1]))
    assert fit.exponent == pytest.approx(1.0, abs=1e-12) and fit.distance == pytest.approx(0, abs=1e-12)
    assert fit.standard_error == pytest.approx(1 / math.sqrt(3 * 2 / 9 * math.log(2) ** 2))
    assert (fit.ranks, fit.tokens) == (2, 3)
    even = fit_zipf(np.full(50, 7))
    assert even.exponent == pytest.approx(0, abs=1e-10) and even.distance == pytest.approx(0, abs=1e-10)


def test_counts_in_proportion_give_their_exponent_back() -> None:
    for exponent in (0.3, 0.9, 1.0, 1.7, 4.0):
        counts = (1e15 * np.arange(1, 201) ** -exponent).astype(np.int64)
        assert fit_zipf(counts).exponent == pytest.approx(exponent, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=40))
def test_it_is_the_summit_of_the_likelihood(counts: list[int]) -> None:
    """scipy's distribution for exponents of at least 0, the formula by itself for those below."""
    ranks = np.arange(1, len(counts) + 1)

    def unlikelihood(exponent: float) -> float:
        if exponent >= 0:
            return float(-(np.array(counts) @ zipfian.logpmf(ranks, exponent, len(counts))))
        return float(exponent * (counts @ np.log(ranks)) + sum(counts) * np.log((ranks**-exponent).sum()))

    fit = fit_zipf(np.array(counts))
    if sum(counts) in (0, counts[0], counts[-1]):
        assert math.isnan(fit.exponent) and math.isnan(fit.standard_error) and math.isnan(fit.distance)
        return
    best = minimize_scalar(unlikelihood, bounds=(-30, 30), method="bounded", options={"xatol": 1e-9})
    assert unlikelihood(fit.exponent) <= best.fun + 1e-8
    curvature = sum(unlikelihood(fit.exponent + step) for step in (-1e-3, 1e-3)) - 2 * unlikelihood(fit.exponent)
    if abs(fit.exponent) > 1e-2:  # both on one side of the two formulas
        assert fit.standard_error == pytest.approx(1e-3 / math.sqrt(curvature), rel=1e-2)


@pytest.mark.parametrize("exponent", [0.6, 1.0, 1.4])
def test_samples_of_a_known_exponent(exponent: float) -> None:
    """Ranks known: within 4 standard errors, and these are the spread of 100 samples. Ranks found: nearly."""
    shares = np.arange(1, 501) ** -exponent
    samples = np.random.default_rng(0).multinomial(20_000, shares / shares.sum(), size=100)
    fits = [fit_zipf(counts) for counts in samples]
    found = np.array([fit.exponent for fit in fits])
    assert np.abs(found - exponent).max() < 4 * fits[0].standard_error
    assert found.std() == pytest.approx(fits[0].standard_error, rel=0.25)
    assert max(fit.distance for fit in fits) < 0.03
    assert fit_zipf(np.sort(samples[0])[::-1]).exponent == pytest.approx(exponent, abs=0.05)


def test_the_distance_by_hand() -> None:
    """Counts 3, 0, 1 against their law: the largest difference of the two distribution functions."""
    counts = np.array([3, 0, 1])
    fit = fit_zipf(counts)
    shares = np.arange(1, 4) ** -fit.exponent
    assert fit.distance == pytest.approx(abs(0.75 - np.cumsum(shares / shares.sum())[:2]).max())
    assert fit.distance > 0.04


@pytest.mark.parametrize("counts", [[], [5], [0, 0], [5, 0, 0], [0, 0, 5]])
def test_what_has_no_best_exponent_is_undefined(counts: list[int]) -> None:
    fit = fit_zipf(np.array(counts, np.int64))
    assert math.isnan(fit.exponent) and (fit.ranks, fit.tokens) == (len(counts), sum(counts))
