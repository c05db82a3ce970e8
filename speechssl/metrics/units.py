"""How good discrete units are: PNMI, purities, perplexity, bitrate.

PNMI and the purities are those of HuBERT (arXiv:2106.07447, section IV-E). Conventions, on which systems differ: units
are upsampled to the phone labels' rate by repetition, the longer sequence is cut at the end of the shorter one, silence
is a class like any other, time without a label counts for neither. Bitrate is log2(V) x the rate of deduplicated units
(DESIGN: `entropy_bitrate` is the smaller number that an ideal unigram coder would need).

Everything comes from counts, so a corpus of any size fits: `UnitCounts.add` one utterance at a time, `merge` the counts
of workers, `scores` at the end. P phone classes, V units, T frames.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError

UNLABELLED = -1  # the phone id of a frame without a label

IntArray = NDArray[np.integer]


@dataclass(frozen=True)
class UnitScores:
    """The measures of one set of utterances; nan where one is undefined (nothing counted, a single phone class)."""

    pnmi: float  # share of the phones' entropy that the units explain, 0..1
    phone_purity: float  # accuracy when every unit stands for its most frequent phone
    cluster_purity: float  # accuracy when every phone stands for its most frequent unit
    perplexity: float  # 2^entropy of the units over frames; V where all are equally frequent
    active_codes: int  # units that occur
    num_units: int  # V
    bitrate: float  # bit/s: log2(V) x unit_rate
    entropy_bitrate: float  # bit/s: entropy of the deduplicated units x unit_rate
    unit_rate: float  # deduplicated units per second
    num_phones: int  # phone classes that occur
    utterances: int
    seconds: float  # of units
    labelled_seconds: float  # that PNMI and the purities were counted over


class UnitCounts:
    """Counts that every measure here follows from. Memory: P x V, whatever the corpus."""

    def __init__(self, num_units: int, *, unit_rate: float, label_rate: float = 100.0) -> None:
        if num_units < 1:
            raise DataError(f"num_units must be at least 1, not {num_units}")
        self.repeats = upsampling(unit_rate, label_rate)
        self.unit_rate, self.label_rate = float(unit_rate), float(label_rate)
        self.joint = np.zeros((0, num_units), np.int64)  # [P, V] label frames
        self.frames = np.zeros(num_units, np.int64)  # [V] unit frames
        self.runs = np.zeros(num_units, np.int64)  # [V] units after deduplication
        self.utterances = 0

    def add(self, units: IntArray, phones: IntArray | None = None) -> None:
        """One utterance: units [T] at unit_rate, phone ids at label_rate (UNLABELLED where there is none)."""
        units = _vector(units, self.frames.size, "unit")
        self.utterances += 1
        self.frames += np.bincount(units, minlength=self.frames.size)
        self.runs += np.bincount(deduplicate(units), minlength=self.frames.size)
        if phones is None or not len(phones):
            return
        self._grow(int(np.max(phones)) + 1)
        self.joint += contingency(phones, np.repeat(units, self.repeats), shape=self.joint.shape)

    def merge(self, other: "UnitCounts") -> None:
        """Add the counts of other utterances, for instance of another worker."""
        mine, theirs = ((c.frames.size, c.unit_rate, c.label_rate) for c in (self, other))
        if mine != theirs:
            raise DataError(f"counts of different units cannot be merged: (V, unit Hz, label Hz) {mine} and {theirs}")
        self._grow(len(other.joint))
        self.joint[: len(other.joint)] += other.joint
        self.frames += other.frames
        self.runs += other.runs
        self.utterances += other.utterances

    def scores(self) -> UnitScores:
        """Every measure of what was added so far."""
        seconds = float(self.frames.sum()) / self.unit_rate
        rate = float(self.runs.sum()) / seconds if seconds else math.nan
        num_units = self.frames.size
        return UnitScores(
            pnmi=pnmi(self.joint),
            phone_purity=phone_purity(self.joint),
            cluster_purity=cluster_purity(self.joint),
            perplexity=perplexity(self.frames),
            active_codes=int(np.count_nonzero(self.frames)),
            num_units=num_units,
            bitrate=rate * math.log2(num_units),
            entropy_bitrate=rate * entropy_bits(self.runs),
            unit_rate=rate,
            num_phones=int(np.count_nonzero(self.joint.sum(1))),
            utterances=self.utterances,
            seconds=seconds,
            labelled_seconds=float(self.joint.sum()) / self.label_rate,
        )

    def _grow(self, num_phones: int) -> None:
        missing = num_phones - len(self.joint)
        if missing > 0:
            self.joint = np.concatenate((self.joint, np.zeros((missing, self.frames.size), np.int64)))


def upsampling(unit_rate: float, label_rate: float) -> int:
    """How often a unit is repeated to reach the labels' rate. Raises DataError where that is no whole number."""
    ratio = label_rate / unit_rate if unit_rate > 0 and label_rate > 0 else 0.0
    if ratio < 0.5 or not math.isclose(ratio, round(ratio), rel_tol=1e-9):
        raise DataError(
            f"labels at {label_rate:g} Hz do not fit units at {unit_rate:g} Hz: the label rate must be a whole multiple"
        )
    return round(ratio)


def contingency(phones: IntArray, units: IntArray, *, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Counts [P, V] of two sequences at one rate, cut at the shorter end; UNLABELLED frames are not counted."""
    num_frames = min(len(phones), len(units))
    phones = _vector(np.asarray(phones)[:num_frames], shape[0], "phone", lowest=UNLABELLED)
    units = _vector(np.asarray(units)[:num_frames], shape[1], "unit")
    labelled = phones != UNLABELLED
    pairs = phones[labelled] * shape[1] + units[labelled]
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)


def deduplicate(units: IntArray) -> IntArray:
    """Each run of one unit once."""
    return units[np.concatenate(([True], units[1:] != units[:-1]))] if len(units) else units


def pnmi(joint: IntArray) -> float:
    """Phone-normalised mutual information I(phone; unit) / H(phone) of counts [P, V]; nan where H(phone) = 0."""
    phone_entropy = entropy_bits(joint.sum(1))
    if not phone_entropy > 0:
        return math.nan
    return (phone_entropy + entropy_bits(joint.sum(0)) - entropy_bits(joint)) / phone_entropy


def phone_purity(joint: IntArray) -> float:
    """Mean over frames of P(most frequent phone of the frame's unit | unit), from counts [P, V]."""
    return float(joint.max(0, initial=0).sum() / joint.sum()) if joint.any() else math.nan


def cluster_purity(joint: IntArray) -> float:
    """Mean over frames of P(most frequent unit of the frame's phone | phone), from counts [P, V]."""
    return float(joint.max(1, initial=0).sum() / joint.sum()) if joint.any() else math.nan


def perplexity(counts: IntArray) -> float:
    """2^entropy of counts of any shape; nan where they are all zero."""
    return 2.0 ** entropy_bits(counts)


def entropy_bits(counts: IntArray) -> float:
    """Entropy in bits of counts of any shape; nan where they are all zero."""
    seen = counts[counts > 0].astype(np.float64)
    if not seen.size:
        return math.nan
    shares = seen / seen.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # + 0.0: not -0.0 for a single class


def label_ids(labels: Sequence[str], vocabulary: dict[str, int]) -> NDArray[np.int32]:
    """Ids of labels; new ones are added to `vocabulary` in the order of their first appearance."""
    return np.fromiter((vocabulary.setdefault(x, len(vocabulary)) for x in labels), np.int32, len(labels))


def _vector(values: IntArray, size: int, name: str, lowest: int = 0) -> NDArray[np.int64]:
    values = np.asarray(values)
    if values.ndim != 1 or (values.size and not np.issubdtype(values.dtype, np.integer)):
        raise DataError(f"{name} ids must be a vector of whole numbers, not {values.dtype} {values.shape}")
    if values.size and not (values.min() >= lowest and values.max() < size):
        raise DataError(f"{name} ids must lie in {lowest}..{size - 1}, found {values.min()}..{values.max()}")
    return values.astype(np.int64)
