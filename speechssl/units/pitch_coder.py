"""A coder of pitch on disk: what recipes.pitch_codes learns and recipes.vocoder puts into a vocoder.

card.json           config, what it learned from, sha256
model.safetensors   weights
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl import config
from speechssl.units import stored
from speechssl.vocoders.pitch_coder import Config, PitchCoder

FORMAT = "speechssl-pitch-coder-1"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class PitchCoderCard:
    """card.json, field by field."""

    format: str
    config: Config
    rate_hz: float  # frames of F0 a second
    sha256: str
    training: dict[str, Any] = field(default_factory=dict)


def save(folder: str | Path, coder: PitchCoder, rate_hz: float, training: dict[str, Any] | None = None) -> None:
    """Write a coder into `folder`, made if absent."""
    card = PitchCoderCard(FORMAT, coder.config, rate_hz, _sha256(coder), training or {})
    stored.write(folder, coder, card)


def load(folder: str | Path) -> tuple[PitchCoder, PitchCoderCard]:
    """A coder in eval mode and its card. CheckpointError where files are missing, damaged or not those of card.json."""
    folder = Path(folder)
    card = stored.read_card(folder, PitchCoderCard, FORMAT, "coder of pitch", "recipes.pitch_codes")
    with stored.reading(folder, "coder of pitch"):
        coder = stored.read_weights(folder, lambda: PitchCoder(card.config))
    stored.check_identity(folder, _sha256(coder), card.sha256)
    return coder, card


def _sha256(coder: PitchCoder) -> str:
    return stored.digest([FORMAT, config.to_dict(coder.config)], coder)
