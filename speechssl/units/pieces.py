"""Pieces: units joined into longer ones by sentencepiece (BPE, or the unigram model of arXiv:1804.10959), and back.

Every unit is written as one private character, an utterance is one sentence without spaces, nothing is normalised and
every unit is a piece of its own. So whatever sequence of units there is, `decode(encode(units)) == units`; durations
travel along, one for each unit, and a piece lasts as long as its units do.

N units, M pieces, V kinds of units, P kinds of pieces.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechssl import files
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.units.piece_card import FIRST_CHARACTER, MODEL_FILE, PieceCard, read_card
from speechssl.units.units import Units

IntArray = NDArray[np.int64]
_MOST_BYTES = 256 << 20  # of pieces.model: 2^20 pieces of 16 units take 75 MB


@dataclass(frozen=True, eq=False)
class Pieces:
    """Pieces of one utterance: ids [M], how many units each spells [M], and the duration of every such unit [N]."""

    ids: IntArray
    lengths: IntArray  # their sum is N
    durations: IntArray  # frames of 1 / rate_hz seconds
    rate_hz: float
    size: int  # P: ids are in 0..P-1

    def __post_init__(self) -> None:
        """Check shapes and ranges."""
        if self.ids.ndim != 1 or self.ids.shape != self.lengths.shape or self.durations.ndim != 1:
            raise DataError(f"ids {self.ids.shape} and lengths {self.lengths.shape} must be equal vectors")
        if self.ids.size and not (self.ids.min() >= 0 and self.ids.max() < self.size):
            raise DataError(f"piece ids must lie in 0..{self.size - 1}, found {self.ids.min()}..{self.ids.max()}")
        if (self.lengths < 1).any() or self.lengths.sum() != len(self.durations):
            raise DataError(f"pieces of {self.lengths.sum()} units in all, and durations of {len(self.durations)}")

    def __len__(self) -> int:
        return len(self.ids)

    def frames(self) -> IntArray:
        """How many frames each piece lasts [M]: the sum over its units."""
        ends = np.concatenate(([0], np.cumsum(self.durations)))[np.cumsum(self.lengths)]
        return np.diff(ends, prepend=0)


class PieceModel:
    """Spells units in pieces and pieces in units. Needs sentencepiece (`pip install 'speechssl[pieces]'`)."""

    def __init__(self, card: PieceCard, data: bytes) -> None:
        """data: the bytes of pieces.model. Raises CheckpointError where they are not what the card says."""
        self.card, self.data = card, data
        if hashlib.sha256(data).hexdigest() != card.sha256:
            raise CheckpointError(f"{MODEL_FILE} does not match the sha256 in card.json; the file was changed")
        try:
            self._processor = sentencepiece().SentencePieceProcessor(model_proto=data)
        except RuntimeError as error:
            raise CheckpointError(f"{MODEL_FILE} is no model of sentencepiece: {error}") from error
        self._spelling, self._starts = _spellings(self._processor, card)

    @property
    def lengths(self) -> IntArray:
        """How many units each kind of piece spells [P]; 0 for piece 0, <unk>."""
        return np.diff(self._starts)

    def spelling(self, piece: int) -> IntArray:
        """The units of one kind of piece."""
        return self._spelling[self._starts[piece] : self._starts[piece + 1]]

    def encode(self, units: Units) -> Pieces:
        """Units as they stand (call `dedup` first for merged runs) in pieces; durations travel along.

        Raises DataError for units of another codebook size or rate.
        """
        if (units.size, units.rate_hz) != (self.card.num_units, self.card.rate_hz):
            raise DataError(f"pieces of {self.card.num_units} units at {self.card.rate_hz:g} Hz cannot spell "
                            f"{units.size} at {units.rate_hz:g} Hz")  # fmt: skip
        ids = np.array(self._processor.encode(characters(units.ids), out_type=int), np.int64)
        if not (
            ids.all() and np.array_equal(self._units(ids), units.ids)
        ):  # a file from elsewhere may normalise, or drop
            raise CheckpointError(f"{MODEL_FILE} does not spell units as they are: it was not written by speechssl")
        return Pieces(ids, self.lengths[ids], units.durations, units.rate_hz, self.card.num_pieces)

    def decode(self, pieces: Pieces) -> Units:
        """The units that were encoded, frame for frame. Raises DataError for pieces of another model."""
        if (pieces.size, pieces.rate_hz) != (self.card.num_pieces, self.card.rate_hz):
            raise DataError(f"{pieces.size} pieces at {pieces.rate_hz:g} Hz are not of this model, which has "
                            f"{self.card.num_pieces} at {self.card.rate_hz:g} Hz")  # fmt: skip
        if not np.array_equal(self.lengths[pieces.ids], pieces.lengths):
            raise DataError("the pieces have other lengths than this model's: they were written with another one")
        return Units(self._units(pieces.ids), pieces.durations, pieces.rate_hz, self.card.num_units)

    def untimed(self, ids: Iterable[int]) -> Pieces:
        """Pieces without durations, as a language model writes them: every unit lasts one frame.

        Raises DataError for ids that are no pieces, and for piece 0, <unk>, which has no units.
        """
        array = np.asarray(list(ids), np.int64)
        if array.size and not (array.min() > 0 and array.max() < self.card.num_pieces):
            raise DataError(f"piece ids must lie in 1..{self.card.num_pieces - 1}, found {array.min()}..{array.max()}")
        lengths = self.lengths[array]
        return Pieces(array, lengths, np.ones(lengths.sum(), np.int64), self.card.rate_hz, self.card.num_pieces)

    def save(self, folder: str | Path) -> None:
        """Write pieces.model and card.json into `folder` (made if absent)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_bytes(self.data)
        text = json.dumps(dataclasses.asdict(self.card), indent=2, ensure_ascii=False)
        (folder / "card.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "PieceModel":
        """Read a piece model. Raises CheckpointError where files are missing, too large, damaged or changed."""
        path = Path(folder) / MODEL_FILE
        card = read_card(Path(folder))
        try:
            data = files.read_bytes(path, most=_MOST_BYTES)
        except OSError as error:
            raise CheckpointError(f"{path}: {error}") from error
        try:
            return cls(card, data)
        except CheckpointError as error:
            raise CheckpointError(f"{folder}: {error}") from error

    def _units(self, ids: IntArray) -> IntArray:
        """What pieces spell, one after another."""
        lengths = self.lengths[ids]
        firsts = self._starts[ids] - (np.cumsum(lengths) - lengths)
        return self._spelling[np.repeat(firsts, lengths) + np.arange(lengths.sum())]


def characters(ids: NDArray[np.integer]) -> str:
    """Units as text, a private character each."""
    return (ids + FIRST_CHARACTER).astype("<u4").tobytes().decode("utf-32-le")


def sentencepiece() -> Any:
    """The library. ConfigError where it is missing."""
    try:
        import sentencepiece
    except ImportError:
        raise ConfigError("pieces need sentencepiece: pip install 'speechssl[pieces]'") from None
    return sentencepiece


def _spellings(processor: Any, card: PieceCard) -> tuple[IntArray, IntArray]:
    """The units of all pieces, one after another, and where each piece's begin [P + 1]."""
    if processor.vocab_size() != card.num_pieces or not processor.is_unknown(0):
        raise CheckpointError(f"{MODEL_FILE} has {processor.vocab_size()} pieces, and the card {card.num_pieces}")
    try:
        texts = [processor.id_to_piece(piece) for piece in range(1, card.num_pieces)]
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{MODEL_FILE}: a piece is no text: {error}") from None
    lengths = np.array([0, *map(len, texts)], np.int64)
    spelled = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4").astype(np.int64) - FIRST_CHARACTER
    starts = np.concatenate(([0], np.cumsum(lengths)))
    alone = spelled[starts[:-1][lengths == 1]]
    known = ((spelled >= 0) & (spelled < card.num_units)).all() and (lengths[1:] > 0).all()
    if not known or len(np.unique(alone)) != card.num_units:
        raise CheckpointError(f"{MODEL_FILE}: the pieces are not of the {card.num_units} units that the card says")
    return spelled, starts
