"""A coder of pitch on disk: what recipes.pitch_codes learns and recipes.vocoder puts into a vocoder.

card.json           config, what it learned from, sha256
model.safetensors   weights
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from speechssl import config, files
from speechssl.encoders import pretrained as native
from speechssl.errors import CheckpointError
from speechssl.units.vocoder import UNUSABLE, check_identity, identity, read_weights
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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    native.write_tensors(folder / "model.safetensors", coder.state_dict())
    card = PitchCoderCard(FORMAT, coder.config, rate_hz, _sha256(coder), training or {})
    (folder / "card.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")


def load(folder: str | Path) -> tuple[PitchCoder, PitchCoderCard]:
    """A coder in eval mode and its card. CheckpointError where files are missing, damaged or not those of card.json."""
    folder = Path(folder)
    try:
        raw = files.read_json(folder / "card.json", most=_MOST_BYTES)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ValueError(f'format is not "{FORMAT}"')
        card = config.build(PitchCoderCard, raw)
        coder = read_weights(folder, lambda: PitchCoder(card.config))
    except UNUSABLE as error:
        raise CheckpointError(f"{folder}: no usable coder of pitch (recipes.pitch_codes makes one): {error}") from error
    check_identity(folder, _sha256(coder), card.sha256)
    return coder.eval().requires_grad_(False), card


def _sha256(coder: PitchCoder) -> str:
    return identity(FORMAT, config.to_dict(coder.config), coder)
