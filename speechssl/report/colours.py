"""A colour for every unit: similar units look alike where the codebook is known.

The codebook's principal components become Oklab coordinates (Ottosson, 2020): the first the lightness, the second and
third the hue plane, each by rank so that an outlying unit cannot press the rest into one colour. Without a codebook,
hues step by the golden angle.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN_TURN = 0.381966
_LIGHTNESS = (0.45, 0.82)  # readable on white and on black
_CHROMA = 0.15


def unit_colours(size: int, codebook: NDArray[np.float32] | None = None) -> list[str]:
    """`#rrggbb` for ids 0..size-1, deterministic; codebook [size, C] where known."""
    if codebook is None or codebook.ndim != 2 or len(codebook) != size or min(codebook.shape) < 3:
        turns = (np.arange(size) * _GOLDEN_TURN) % 1.0
        lightness = np.array([0.56, 0.66, 0.76])[np.arange(size) % 3]
        a, b = _CHROMA * np.cos(2 * np.pi * turns), _CHROMA * np.sin(2 * np.pi * turns)
    else:
        ranks = _ranks(_components(codebook.astype(np.float64)))
        lightness = _LIGHTNESS[0] + (_LIGHTNESS[1] - _LIGHTNESS[0]) * ranks[:, 0]
        a, b = (_CHROMA * (2 * ranks[:, 1:] - 1)).T
    rgb = _oklab_to_srgb(lightness, a, b)
    return ["#{:02x}{:02x}{:02x}".format(*row) for row in rgb.tolist()]


def ink(colour: str) -> str:
    """Black or white, whichever reads better on `#rrggbb` (WCAG relative luminance)."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return "#000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#fff"


def _components(codebook: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = codebook - codebook.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:3] * np.where(axes[:3].sum(1) < 0, -1.0, 1.0)[:, None]  # SVD leaves the signs open: fix them
    return centred @ axes.T


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    order = values.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    return order / (len(values) - 1)


def _oklab_to_srgb(lightness: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.int64]:
    cone = np.stack([
        lightness + 0.3963377774 * a + 0.2158037573 * b,
        lightness - 0.1055613458 * a - 0.0638541728 * b,
        lightness - 0.0894841775 * a - 1.2914855480 * b,
    ], axis=1)  # fmt: skip
    to_rgb = np.array([
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ])  # fmt: skip
    linear = ((cone**3) @ to_rgb.T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (srgb * 255).round().astype(np.int64)
