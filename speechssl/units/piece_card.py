"""card.json of a piece model: what its pieces are made of, and which file beside it spells them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from speechssl import config, files
from speechssl.errors import CheckpointError, ConfigError

FORMAT = "speechssl-pieces-1"
MODEL_FILE = "pieces.model"
FIRST_CHARACTER = 0xF0000  # of unit 0: the private planes 15 and 16, which no normalisation touches
MOST_UNITS = 0x110000 - FIRST_CHARACTER  # 131,072
MOST_PIECES = 1 << 20
_MOST_BYTES = 16 << 20

Kind = Literal["bpe", "unigram"]


@dataclass(frozen=True)
class PieceCard:
    """card.json, field by field."""

    format: str
    kind: Kind
    num_pieces: int  # P, with <unk>, which is piece 0 and never written: the ids are sentencepiece's own
    num_units: int  # V
    rate_hz: float  # frames per second of the units
    sha256: str  # of pieces.model
    unit_model: str = ""  # sha256 of the unit model whose units these are; "" where nobody said
    training: dict[str, Any] = field(default_factory=dict)  # what it was learned from, and how

    def __post_init__(self) -> None:
        """Refuse sizes that no piece model has."""
        check_sizes(self.num_pieces, self.num_units)
        if not 0.01 < self.rate_hz < 1e6:
            raise ConfigError(f"units at {self.rate_hz} Hz")


def check_sizes(num_pieces: int, num_units: int) -> None:
    """ConfigError unless so many pieces can spell so many units."""
    if not 1 <= num_units <= MOST_UNITS:
        raise ConfigError(f"{num_units} kinds of units: pieces can be made of 1 to {MOST_UNITS}, a character each")
    if not num_units < num_pieces <= MOST_PIECES:
        raise ConfigError(
            f"{num_pieces} pieces for {num_units} kinds of units: every unit is a piece of its own and <unk> is one, "
            f"so {num_units + 1} is the least, and {MOST_PIECES} the most"
        )


def read_card(folder: Path) -> PieceCard:
    """card.json of a piece model folder, checked for its form only. Raises CheckpointError."""
    path = folder / "card.json"
    try:
        raw = files.read_json(path, most=_MOST_BYTES)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ConfigError(f'format is not "{FORMAT}"')
        return config.build(PieceCard, raw)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not the card of a piece model: {error}") from error
