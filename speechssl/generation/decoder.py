"""A pretrained decoder of units: what `recipes.unit_bart` keeps and `recipes.seq2seq` begins with."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from speechssl.decoders import transformer
from speechssl.errors import CheckpointError
from speechssl.generation import stored

FORMAT = "speechssl-unit-decoder-1"


@dataclass(frozen=True)
class DecoderCard:
    """card.json, field by field."""

    name: str
    decoder: transformer.Config
    memory_dim: int  # channels of what it looks at
    reduced: bool  # runs of one unit merged
    unit_model: str | None = None  # sha256 of what made the units
    languages: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    format: str = FORMAT

    def hashed(self, model: transformer.Model) -> "DecoderCard":
        """With the identity of a model: all that decides what it says."""
        head = [FORMAT, stored.plain_decoder(self.decoder), self.memory_dim, self.reduced, self.unit_model]
        return replace(self, sha256=stored.digest(head, model))


def save(folder: Path, model: transformer.Model, card: DecoderCard) -> None:
    """Write a decoder into `folder` (made if absent)."""
    stored.write(folder, model, card.hashed(model))


def load(folder: Path) -> tuple[transformer.Model, DecoderCard]:
    """Read what `save` wrote. Raises CheckpointError where files are missing, damaged, or do not fit together."""
    from safetensors import SafetensorError

    card = stored.read_card(folder, DecoderCard, FORMAT, "decoder of recipes.unit_bart")
    try:
        with torch.device("meta"):  # no memory, whatever the card says
            model = transformer.Model(card.decoder, card.memory_dim)
        stored.fill(model, folder)
    except (OSError, TypeError, ValueError, ArithmeticError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: no usable decoder of units: {error}") from error
    if card.hashed(model).sha256 != card.sha256:
        raise CheckpointError(f"{folder}: card.json does not describe the files beside it; they were changed")
    return model, card
