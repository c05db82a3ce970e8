"""How smooth mels are beside real ones: what a decoder that says the mean of what could be loses.

T frames, M mel bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechssl.errors import DataError


@dataclass(frozen=True)
class MelScores:
    """Over all frames of all utterances."""

    l1: float  # mean absolute difference of log mels, in nepers of power
    variance_ratio: float  # made over real variance of a bin over an utterance's time: the mean of logs, exp; 1 is real
    sharpness_ratio: float  # made over real mean |difference| of neighbouring bins; 1 is real


def compare(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> MelScores:
    """Log mels [T, M] of real and made speech, frame by frame. DataError for none, one frame, and other shapes."""
    if not pairs or any(real.shape != made.shape or real.ndim != 2 or len(real) < 2 or real.shape[1] < 2
                        for real, made in pairs):  # fmt: skip
        raise DataError("mels are compared in pairs of one shape [frames, bins], of at least two frames and bins")
    wide = [(real.astype(np.float64), made.astype(np.float64)) for real, made in pairs]
    differences = np.concatenate([abs(real - made) for real, made in wide])
    ratios = np.concatenate([np.log(made.var(0) + 1e-12) - np.log(real.var(0) + 1e-12) for real, made in wide])
    edges = [sum(float(abs(np.diff(side[place], axis=1)).sum()) for side in wide) for place in (0, 1)]
    return MelScores(float(differences.mean()), float(np.exp(ratios.mean())), edges[1] / max(edges[0], 1e-12))
