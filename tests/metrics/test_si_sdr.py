"""SI-SDR by hand and by its properties."""

import math

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.metrics.si_sdr import si_sdr


def test_an_orthogonal_error_of_a_tenth_is_20_db_at_any_loudness_and_offset() -> None:
    signal, error = np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, 1.0, -1.0, -1.0])
    for scale in (1.0, 0.01, -3.0):
        assert si_sdr(signal, scale * (signal + 0.1 * error) + 5) == pytest.approx(20)


def test_the_projection_is_the_best_scale() -> None:
    random = np.random.default_rng(0)
    signal, estimate = random.normal(size=300), random.normal(size=300)
    signal, estimate = signal - signal.mean(), estimate - estimate.mean()
    best = max(10 * math.log10(np.sum((a * signal) ** 2) / np.sum((a * signal - estimate) ** 2))
               for a in np.linspace(-0.5, 0.5, 20_001) if a)  # fmt: skip
    a = (estimate @ signal) / (signal @ signal)
    direct = 10 * math.log10(np.sum((a * signal) ** 2) / np.sum((a * signal - estimate) ** 2))
    assert si_sdr(signal, estimate) == pytest.approx(direct)
    residual = [np.sum((b * signal - estimate) ** 2) for b in np.linspace(-0.5, 0.5, 2001)]
    assert np.sum((a * signal - estimate) ** 2) <= min(residual) + 1e-9 and best >= direct - 1e-6


def test_edges() -> None:
    signal = np.array([1.0, -1.0])
    assert si_sdr(signal, 2 * signal) == math.inf
    assert si_sdr(signal, np.zeros(2)) == -math.inf
    assert math.isnan(si_sdr(np.zeros(2), signal)) and math.isnan(si_sdr(np.zeros(0), np.zeros(0)))
    with pytest.raises(DataError, match="length"):
        si_sdr(signal, np.zeros(3))
