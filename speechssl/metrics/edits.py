"""How much units change when the recording does: the unit edit distance of arXiv:2209.15483.

UED: the Levenshtein distance between the deduplicated units of a recording and of the same recording changed in a way
that does not alter what is said (stretched, shifted in pitch, reverberated, noisy), over its number of frames,
averaged over recordings. The unit error rate divides the sum of the distances by that of the deduplicated lengths, as
word error rates do.

T frames.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EditScores:
    """Over a set of utterances; nan where nothing could be compared."""

    ued: float  # mean of edits over frames
    unit_error_rate: float  # all edits over all deduplicated units
    edits: int
    units: int  # deduplicated, of the unchanged recordings
    utterances: int  # that have at least one frame


class EditCounts:
    """Counts over utterances, `add` one at a time."""

    def __init__(self) -> None:
        self.edits: list[int] = []  # of each utterance
        self.units: list[int] = []  # the same: deduplicated, of the unchanged recording
        self._shares = 0.0

    def add(self, clean: NDArray[np.integer], changed: NDArray[np.integer]) -> None:
        """Units frame by frame: [T] of a recording, [T'] of the changed one. Without a frame it does not count."""
        if not len(clean):
            return
        edits = edit_distance(deduplicated(clean), deduplicated(changed))
        self.edits.append(edits)
        self.units.append(len(deduplicated(clean)))
        self._shares += edits / len(clean)

    def scores(self) -> EditScores:
        """Over everything added."""
        edits, units = sum(self.edits), sum(self.units)
        ued = self._shares / len(self.units) if self.units else math.nan
        rate = edits / units if units else math.nan
        return EditScores(ued, rate, edits, units, len(self.units))


def deduplicated(units: NDArray[np.integer]) -> NDArray[np.integer]:
    """Units [T] without those that equal the one before."""
    units = np.asarray(units)
    return units[np.diff(units, prepend=units[:1] - 1) != 0]


def edit_distance(one: NDArray[np.integer], other: NDArray[np.integer]) -> int:
    """Levenshtein distance: the fewest units inserted, left out or replaced."""
    from rapidfuzz.distance import Levenshtein

    return int(Levenshtein.distance(one.tolist(), other.tolist()))
