"""Mel-cepstral distortion with dynamic time warping (Kubichek 1993), in dB.

A frame's mel cepstrum is the cosine transform of the log magnitudes of M mel bands, scaled so that c_0 + sum of c_d
cos(pi d (m + 1/2) / M) is the log magnitude again. So (10 / ln 10) sqrt(2 sum of squared differences of c_1 .. c_D) is
the root mean square, over bands, of how far two frames are apart in dB, loudness and what is finer than D left out.

differs: cepstra of mel bands of the short-time spectrum, where many take those of WORLD's envelope: values are
comparable among themselves, not with published ones. Bands below -60 dB of the loudest in their recording count as -60.

S samples, T frames, M bands, D coefficients.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError

HOP_S = 0.01
_WINDOW_S = 0.025
_BANDS = 80
_ORDER = 24  # D
_FLOOR = 1e-3  # -60 dB
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """Pairs of frames of two recordings, from both beginnings to both ends."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]


def mel_cepstra(samples: NDArray[np.floating], sample_rate: int, *, order: int = _ORDER, bands: int = _BANDS) -> Array:
    """[T, D] c_1 .. c_D of samples [S]: a frame every 10 ms, centred at (t + 1/2) * 10 ms, silence around."""
    magnitudes = _frames(samples, sample_rate) @ mel_bands(sample_rate, bands)
    logs = np.log(np.maximum(magnitudes, _FLOOR * max(float(magnitudes.max(initial=0.0)), 1e-8)))
    places = np.pi * (np.arange(bands) + 0.5) / bands
    return logs @ (2 / bands * np.cos(np.outer(places, np.arange(1, order + 1))))


def distortion(one: Array, other: Array) -> float:
    """MCD in dB of frames [T, D] that belong together, averaged over them. DataError for none."""
    if one.shape != other.shape or not len(one):
        raise DataError(f"frames to compare must be as many, and some, got {one.shape} and {other.shape}")
    return float(_distances(one, other).mean())


def _distances(one: Array, other: Array) -> Array:
    return 10 / np.log(10) * np.sqrt(2 * np.square(one - other).sum(-1))


def align(one: Array, other: Array) -> Alignment:
    """The warp [P] with the smallest sum of distances; steps down, right and diagonal, of equally good ones the
    diagonal. DataError where one side has no frame.
    """
    rows, columns = len(one), len(other)
    if not rows or not columns:
        raise DataError("a recording without frames cannot be aligned")
    squares = np.square(one).sum(1)[:, None] + np.square(other).sum(1) - 2 * one @ other.T
    costs = np.sqrt(np.maximum(squares, 0))
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for diagonal in range(rows + columns - 1):  # all cells of one diagonal at once
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        best = np.minimum(np.minimum(total[i, j + 1], total[i + 1, j]), total[i, j])
        total[i + 1, j + 1] = costs[i, j] + best
    at, path = (rows, columns), []
    while at != (0, 0):
        row, column = at
        path.append((row - 1, column - 1))
        at = min(((row - 1, column - 1), (row - 1, column), (row, column - 1)), key=lambda cell: total[cell])
    pairs = np.array(path[::-1], dtype=np.int64)
    return Alignment(pairs[:, 0], pairs[:, 1])


def straight(one: int, other: int) -> Alignment:
    """Frames side by side of recordings of one length; the longer one's end is left out."""
    both = np.arange(min(one, other), dtype=np.int64)
    return Alignment(both, both)


def _frames(samples: NDArray[np.floating], sample_rate: int) -> Array:
    """Magnitudes [T, F]; T = ceil(S / hop)."""
    hop, window = round(HOP_S * sample_rate), round(_WINDOW_S * sample_rate)
    count = -(-len(samples) // hop)
    left = (window - hop) // 2
    padded = np.pad(np.asarray(samples, np.float64), (left, max(0, count * hop + window - left - len(samples))))
    views = np.lib.stride_tricks.sliding_window_view(padded, window)[: count * hop : hop]
    return np.abs(np.fft.rfft(views * np.hanning(window + 2)[1:-1], _fft_size(sample_rate)))


def _fft_size(sample_rate: int) -> int:
    return 1 << int(np.ceil(np.log2(2 * _WINDOW_S * sample_rate)))


@lru_cache(maxsize=8)
def mel_bands(sample_rate: int, bands: int) -> Array:
    """[F, M] triangles of height 1, evenly spaced on the mel scale 2595 log10(1 + f / 700) up to half the rate."""
    hz = np.fft.rfftfreq(_fft_size(sample_rate), 1 / sample_rate)
    mels = 2595 * np.log10(1 + hz / 700)
    step = mels[-1] / (bands + 1)
    centres = step * np.arange(1, bands + 1)
    return np.maximum(0, 1 - np.abs(mels[:, None] - centres) / step)
