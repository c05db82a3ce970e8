"""A pretrained decoder of units: what `recipes.unit_bart` and `recipes.unit_lm` keep, and others begin with."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from speechssl.decoders import transformer
from speechssl.generation.stored import fill, plain_decoder
from speechssl.units import stored

FORMAT = "speechssl-unit-decoder-1"


@dataclass(frozen=True)
class DecoderCard:
    """card.json, field by field."""

    name: str
    decoder: transformer.Config
    memory_dim: int  # channels of what it looks at; 0: a language model
    reduced: bool  # runs of one unit merged
    unit_model: str | None = None  # sha256 of what made the units
    languages: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    format: str = FORMAT

    def hashed(self, model: transformer.Model) -> "DecoderCard":
        """With the identity of a model: all that decides what it says."""
        head = [FORMAT, plain_decoder(self.decoder), self.memory_dim, self.reduced, self.unit_model]
        return replace(self, sha256=stored.digest(head, model))


def save(folder: Path, model: transformer.Model, card: DecoderCard) -> None:
    """Write a decoder into `folder` (made if absent)."""
    stored.write(folder, model, card.hashed(model))


def load(folder: Path) -> tuple[transformer.Model, DecoderCard]:
    """Read what `save` wrote. Raises CheckpointError where files are missing, damaged, or do not fit together."""
    card = read_card(folder)
    with stored.reading(folder, "decoder of units"):
        with torch.device("meta"):  # no memory, whatever the card says
            model = transformer.Model(card.decoder, card.memory_dim)
        fill(model, folder)
    stored.check_identity(folder, card.hashed(model).sha256, card.sha256)
    return model, card


def read_card(folder: Path) -> DecoderCard:
    """card.json, checked for its form only. Raises CheckpointError."""
    return stored.read_card(folder, DecoderCard, FORMAT, "decoder of recipes.unit_bart or recipes.unit_lm")


def begin(decoder: transformer.Model, known: transformer.Model) -> None:
    """Give a decoder the weights of a pretrained one of its shape.

    A language model has no attention to frames: the decoder's own stays as it was drawn. ValueError where they differ
    in anything else.
    """
    missing, unexpected = decoder.load_state_dict(known.state_dict(), strict=False)
    cross = {name for name in decoder.state_dict() if ".cross." in name or ".cross_norm." in name}
    if unexpected or set(missing) != (set() if known.memory_dim else cross):
        raise ValueError(f"decoders of different shapes: {[*unexpected, *missing][:3]}")
