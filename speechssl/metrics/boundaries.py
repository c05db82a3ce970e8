"""Where units change against where phones do: precision, recall, F1, over-segmentation, R-value.

As in word and phone segmentation: a boundary of the units is right if one of the phones' lies within a tolerance, each
matched once. R-value: Räsänen, Laine & Altosaar, "An improved speech segmentation quality measure: the R-value",
Interspeech 2009; unlike F1 it does not reward boundaries everywhere. The beginning and the end of a recording are no
boundaries.

T frames, N boundaries.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class BoundaryScores:
    """Over a set of utterances; nan where one is undefined (no boundary found, none there)."""

    precision: float  # share of the units' boundaries that are right
    recall: float  # share of the phones' boundaries that were found
    f1: float
    over_segmentation: float  # boundaries found over boundaries there, less 1
    r_value: float  # 1: all right, none too many
    found: int  # boundaries of the units
    reference: int  # of the phones
    hits: int  # matched ones
    found_per_s: float
    tolerance_s: float
    utterances: int


class BoundaryCounts:
    """Counts over utterances, `add` one at a time. shift_s moves the phones' boundaries (negative: earlier)."""

    def __init__(self, *, unit_rate: float, tolerance_s: float = 0.02, shift_s: float = 0.0) -> None:
        if not unit_rate > 0 or not 0 <= tolerance_s < math.inf:
            raise DataError(f"boundaries need a unit rate above 0 and a tolerance of at least 0, got {unit_rate:g} and "
                            f"{tolerance_s:g}")  # fmt: skip
        self.unit_rate, self.tolerance_s, self.shift_s = float(unit_rate), float(tolerance_s), float(shift_s)
        self.found = self.reference = self.hits = self.utterances = 0
        self.seconds = 0.0

    def add(self, units: NDArray[np.integer], reference_s: FloatArray) -> None:
        """Units [T] frame by frame, the phones' boundaries [N] in seconds.

        Those at either end of the units or beyond do not count, whether they are there before or after the shift.
        """
        length = len(units) / self.unit_rate
        found = unit_boundaries(units, self.unit_rate)
        inside = np.unique(reference_s)
        for shift in (0.0, self.shift_s):
            inside = inside + shift
            inside = inside[(inside > 0) & (inside < length)]
        self.found, self.reference = self.found + len(found), self.reference + len(inside)
        self.hits += matches(found, inside, self.tolerance_s)
        self.seconds, self.utterances = self.seconds + length, self.utterances + 1

    def scores(self) -> BoundaryScores:
        """Over everything added."""
        found, there, hits = self.found, self.reference, self.hits
        recall, over = _ratio(hits, there), _ratio(found, there) - 1
        return BoundaryScores(
            precision=_ratio(hits, found), recall=recall, f1=_ratio(2 * hits, found + there), over_segmentation=over,
            r_value=r_value(recall, over), found=found, reference=there, hits=hits,
            found_per_s=_ratio(found, self.seconds), tolerance_s=self.tolerance_s, utterances=self.utterances,
        )  # fmt: skip


def unit_boundaries(units: NDArray[np.integer], rate_hz: float) -> FloatArray:
    """The times [N] in seconds at which units [T] change; frame t lasts from t / rate to (t + 1) / rate."""
    return (np.flatnonzero(np.diff(np.asarray(units))) + 1) / rate_hz


def matches(found: FloatArray, reference: FloatArray, tolerance: float) -> int:
    """The largest number of pairs no further apart than `tolerance`, no time in two pairs; both ascending."""
    hits = i = j = 0
    while i < len(found) and j < len(reference):
        gap = found[i] - reference[j]
        if abs(gap) <= tolerance + 1e-9:
            hits, i, j = hits + 1, i + 1, j + 1
        elif gap < 0:
            i += 1
        else:
            j += 1
    return hits


def r_value(recall: float, over_segmentation: float) -> float:
    """The paper's R, from shares: 1 - (|r1| + |r2|) / 2, distances to the ideal point and to the ideal line."""
    r1 = math.hypot(1 - recall, over_segmentation)
    r2 = (recall - 1 - over_segmentation) / math.sqrt(2)
    return 1 - (abs(r1) + abs(r2)) / 2


def _ratio(one: float, other: float) -> float:
    return one / other if other else math.nan
