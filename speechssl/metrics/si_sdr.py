"""Scale-invariant signal-to-distortion ratio (arXiv:1811.02508)."""

import math

import numpy as np
from numpy.typing import ArrayLike

from speechssl.errors import DataError


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """In dB: 10 log10 (|a s|^2 / |a s - s'|^2) with a = <s', s> / |s|^2, of signals [S] without their means.

    inf where the estimate is a multiple of the reference; -inf where it holds nothing of it; nan for a reference of
    silence. Raises DataError for signals of different lengths.
    """
    one, other = (np.asarray(signal, np.float64) for signal in (reference, estimate))
    if one.ndim != 1 or one.shape != other.shape:
        raise DataError(f"SI-SDR compares two signals of one length, got {one.shape} and {other.shape}")
    one, other = one - one.mean() if len(one) else one, other - other.mean() if len(other) else other
    energy = float(one @ one)
    if energy == 0:
        return math.nan
    target = one * (float(other @ one) / energy)
    wanted, unwanted = float(target @ target), float(np.square(target - other).sum())
    if wanted == 0:
        return -math.inf
    return 10 * math.log10(wanted / unwanted) if unwanted else math.inf
