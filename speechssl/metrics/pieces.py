"""How much shorter units become as pieces, and what that costs in bits.

Bitrate is the logarithm of the vocabulary x the rate, as `metrics.units` has it, here once of deduplicated units and
once of pieces; the entropy bitrates are what an ideal unigram coder would need. Durations are in neither.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.metrics.units import entropy_bits


@dataclass(frozen=True)
class PieceScores:
    """Over a set of utterances; nan where there is nothing."""

    units: int  # deduplicated
    pieces: int
    units_per_piece: float
    active_pieces: int  # that occur
    num_pieces: int
    num_units: int
    units_per_s: float
    pieces_per_s: float
    unit_bitrate: float  # bit/s: log2(V) x units_per_s
    bitrate: float  # bit/s: log2(P) x pieces_per_s
    unit_entropy_bitrate: float  # bit/s: entropy of the units x units_per_s
    entropy_bitrate: float  # bit/s: entropy of the pieces x pieces_per_s
    utterances: int
    seconds: float


class PieceCounts:
    """Counts over utterances, `add` one at a time."""

    def __init__(self, num_units: int, num_pieces: int, *, unit_rate: float) -> None:
        self.unit_rate, self.utterances, self.num_frames = float(unit_rate), 0, 0
        self.units, self.pieces = np.zeros(num_units, np.int64), np.zeros(num_pieces, np.int64)

    def add(self, units: NDArray[np.integer], pieces: NDArray[np.integer], num_frames: int) -> None:
        """Deduplicated units [N] of an utterance, and its pieces [M]."""
        self.units += np.bincount(units, minlength=self.units.size)
        self.pieces += np.bincount(pieces, minlength=self.pieces.size)
        self.utterances, self.num_frames = self.utterances + 1, self.num_frames + num_frames

    def scores(self) -> PieceScores:
        """Over everything added."""
        units, pieces, seconds = int(self.units.sum()), int(self.pieces.sum()), self.num_frames / self.unit_rate
        unit_rate, piece_rate = (count / seconds if seconds else math.nan for count in (units, pieces))
        return PieceScores(
            units=units, pieces=pieces, units_per_piece=units / pieces if pieces else math.nan,
            active_pieces=int(np.count_nonzero(self.pieces)), num_pieces=self.pieces.size, num_units=self.units.size,
            units_per_s=unit_rate, pieces_per_s=piece_rate,
            unit_bitrate=math.log2(self.units.size) * unit_rate, bitrate=math.log2(self.pieces.size) * piece_rate,
            unit_entropy_bitrate=entropy_bits(self.units) * unit_rate,
            entropy_bitrate=entropy_bits(self.pieces) * piece_rate, utterances=self.utterances, seconds=seconds,
        )  # fmt: skip
