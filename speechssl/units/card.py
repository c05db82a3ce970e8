"""card.json of a unit model: what decides its units, and what people should know of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from speechssl import config, files
from speechssl.errors import CheckpointError, ConfigError

FORMAT = "speechssl-unit-model-1"
MOST_UNITS = 1 << 24  # a hundred times the largest codebook
NORMALIZER = "normalizer.json"  # in the folder of a unit normaliser, see `units.normalizer`
_MOST_BYTES = 16 << 20
_BUILT_IN = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class UnitModelCard:
    """What people should know of a unit model; the rest of card.json follows from its parts."""

    name: str = ""
    licence: str = ""  # of the model itself
    training: dict[str, Any] = field(default_factory=dict)  # free text: data, their licences, seed, commit


@dataclass(frozen=True)
class EncoderReference:
    """Which encoder a unit model needs, and where its weights are."""

    id: str  # a name or path that `speechssl.load_encoder` understands
    sha256: str  # `Pretrained.sha256`
    family: str
    config: dict[str, Any]
    normalize: bool
    normalize_eps: float
    weights: Literal["none", "embedded", "external"]


@dataclass(frozen=True)
class QuantizerReference:
    """Which quantizer is stored in quantizer.safetensors."""

    kind: str  # module name in speechssl.quantizers
    sha256: str


@dataclass(frozen=True)
class StoredCard:
    """card.json, field by field."""

    format: str
    name: str
    encoder: EncoderReference
    layer: int
    sample_rate: int  # Hz
    rate_hz: float
    frame_rule: str
    num_units: int
    quantizer: QuantizerReference
    sha256: str  # `UnitModel.hash`
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


def find(folder: str | Path) -> Path:
    """The folder of a unit model: `folder` itself, or a built-in model of that name."""
    path = Path(folder)
    if (path / "card.json").is_file():
        return path
    name = str(folder)
    built_in = sorted(p.parent.name for p in _BUILT_IN.glob("*/card.json"))
    if name in built_in:
        return _BUILT_IN / name
    raise CheckpointError(f"{folder}: no unit model there (no card.json; built in: {', '.join(built_in) or 'none'})")


def is_normalizer(folder: str | Path) -> bool:
    """Whether a unit normaliser is there, in place of a unit model."""
    return (Path(folder) / NORMALIZER).is_file()


def read_card(folder: Path) -> StoredCard:
    """card.json of a unit model folder, checked for its form only."""
    if is_normalizer(folder):
        raise CheckpointError(f"{folder}: a unit normaliser, whose units belong to no frames: make them with "
                              "`speechssl units --model`, and give that folder")  # fmt: skip
    try:
        raw = files.read_json(folder / "card.json", most=_MOST_BYTES)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ConfigError(f'format is not "{FORMAT}"')
        return config.build(StoredCard, raw)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / 'card.json'}: not a unit model card: {error}") from error
