"""Scores of a corpus of units, and what was not scored: missing utterances, lengths that disagree, unlabelled time."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError
from speechssl.metrics.alignments import Alignments
from speechssl.metrics.units import UnitCounts, UnitScores

# Units x their rate and labels x their rate are two clocks. Labels of each frame run to the end of the recording, timed
# ones may stop where nothing more is said; outside these bounds one of the stated rates is wrong.
_SHARE_PER_FRAME = (0.9, 1.1)
_SHARE_TIMED = (0.6, 1.1)


@dataclass(frozen=True)
class UnitReport:
    """`UnitScores` and what they do not cover."""

    scores: UnitScores
    without_alignment: tuple[str, ...]  # utterances with units only
    without_units: tuple[str, ...]  # utterances with an alignment only
    largest_difference_s: float  # between the ends of units and labels of one utterance
    largest_difference_in: str  # that utterance; "" where none was scored


def score_corpus(
    utterances: Iterable[tuple[str, NDArray[np.integer]]],
    alignments: Alignments | None,
    *,
    num_units: int,
    unit_rate: float,
    label_rate: float = 100.0,
    label_shift_s: float = 0.0,
) -> UnitReport:
    """Score (id, units [T] at unit_rate) pairs, over the utterances that have an alignment; with None, over all.

    label_shift_s moves every label (negative: earlier), for alignments that are known to lag.
    Raises DataError where rates do not fit, lengths show that a stated rate is wrong, or an id comes twice.
    """
    counts = UnitCounts(num_units, unit_rate=unit_rate, label_rate=label_rate)
    seen: set[str] = set()
    without_alignment: list[str] = []
    unit_seconds = label_seconds = 0.0
    largest, largest_in = 0.0, ""
    for name, units in utterances:
        if name in seen:
            raise DataError(f"units of utterance {name!r} for the second time")
        seen.add(name)
        if alignments is None:
            counts.add(units)
        elif name not in alignments:
            without_alignment.append(name)
        else:
            phones = alignments.frames(name, label_rate, shift_s=label_shift_s)
            counts.add(units, phones)
            ends = len(units) / unit_rate, len(phones) / label_rate
            unit_seconds, label_seconds = unit_seconds + ends[0], label_seconds + ends[1]
            if not largest_in or abs(ends[0] - ends[1]) > largest:
                largest, largest_in = abs(ends[0] - ends[1]), name
    if alignments is not None:
        check_clocks(unit_seconds, label_seconds, unit_rate, label_rate, alignments.rate_hz is None)
    without_units = tuple(name for name in alignments or () if name not in seen)
    return UnitReport(counts.scores(), tuple(without_alignment), without_units, largest, largest_in)


def check_clocks(unit_s: float, label_s: float, unit_rate: float, label_rate: float, timed: bool) -> None:
    """DataError where the lengths of units and labels, in all, show that a stated rate is wrong."""
    low, high = _SHARE_TIMED if timed else _SHARE_PER_FRAME
    if unit_s and not low <= label_s / unit_s <= high:
        stated = f"units at {unit_rate:g} Hz" + ("" if timed else f", labels at {label_rate:g} Hz")
        raise DataError(
            f"the units last {unit_s:.1f} s, the labels of the same utterances {label_s:.1f} s: a stated rate is wrong "
            f"({stated}), or they belong to other recordings"
        )
