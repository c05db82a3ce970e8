"""What a classifier got right: accuracy and its interval, macro F1, confusions, and what chance gives.

The interval is Wilson's (1927), 95 %. It holds for utterances that are independent draws; those of few speakers are
not, and the truth may lie further off than it says.

N utterances, V labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError

_Z = 1.959963984540054  # standard normal deviate of 95 %


@dataclass(frozen=True)
class ClassScores:
    """Of one test."""

    accuracy: float  # share of utterances whose label was found
    interval: tuple[float, float]  # of the accuracy, Wilson's, 95 %
    macro_f1: float  # mean over the labels that occur or are said; 0 for one that is never found
    majority: float  # accuracy of always saying the label most frequent in training: chance
    utterances: int
    confusion: NDArray[np.int64]  # [V, V]: rows are the true labels, columns what was said


def confusion_matrix(labels: Sequence[int], said: Sequence[int], num_labels: int) -> NDArray[np.int64]:
    """[V, V] counts: row = true label, column = what was said. DataError for numbers outside 0..V-1."""
    pairs = np.array([labels, said], np.int64).reshape(2, -1)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= num_labels):
        raise DataError(f"labels must be 0..{num_labels - 1}, got {int(pairs.min())} and {int(pairs.max())}")
    counts = np.zeros((num_labels, num_labels), np.int64)
    np.add.at(counts, (pairs[0], pairs[1]), 1)
    return counts


def class_scores(confusion: NDArray[np.integer], *, majority: float) -> ClassScores:
    """Scores of counts [V, V] (row = true label). Raises DataError where nothing was tested."""
    counts = np.asarray(confusion, np.int64)
    total, right = int(counts.sum()), int(np.trace(counts))
    if not total:
        raise DataError("no utterance was tested")
    either = counts.sum(0) + counts.sum(1)  # true positives stand in both
    f1 = 2 * np.diag(counts)[either > 0] / either[either > 0]
    return ClassScores(right / total, wilson_interval(right, total), float(f1.mean()), majority, total, counts)


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """95 % interval of the share `right` / `total`, from the score test. DataError where that is no share."""
    if not 0 <= right <= total or not total:
        raise DataError(f"{right} of {total} is no share")
    share, z2 = right / total, _Z**2 / total
    centre = share + z2 / 2
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))
