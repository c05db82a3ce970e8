"""A mel decoder on disk, with the unit model whose units, or whose encoder's features, it decodes.

card.json           config, the unit model's hash, what it is given, name, licence, sha256
model.safetensors   weights, and mean and scale of the mels
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl import config
from speechssl.errors import ConfigError, DataError
from speechssl.units import stored
from speechssl.units.model import UnitModel
from speechssl.units.units import Units
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.mel_decoder import Config, MelDecoder, Sampling

FORMAT = "speechssl-mel-decoder-1"
_MOST_BYTES = 16 << 20  # of card.json
# Settings that came later; with these values the hash is what it was without them.
_LATER = {"speaker_inputs": 0, "prosody": None, "says": "noise"}


@dataclass(frozen=True)
class MelDecoderCard:
    """card.json, field by field."""

    format: str
    name: str
    config: Config
    units: SpokenUnits  # where it takes features: those of this unit model's encoder
    layer: int  # of the encoder, where it takes features
    sha256: str
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    embedder: str = ""  # whose speaker embeddings it takes, for `data.speaker_embeddings`; empty: not known
    soft: bool = False  # where it takes features: the unit model's soft units in place of the layer itself


@dataclass(frozen=True)
class TrainedMelDecoder:
    """A trained mel decoder with its card: units or features to log mels."""

    module: MelDecoder
    card: MelDecoderCard

    def __call__(
        self, content: Units | Tensor | np.ndarray, speaker: str | Tensor | None = None, *,
        sampling: Sampling | None = None, more: Tensor | None = None, prompt: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Log mels [frames_per_unit * T, M] float32 of `Units`, of ids [T], or of features [T, D].

        speaker: a name, or an embedding [E] where it takes them. See `MelDecoder.decode`. DataError for no units,
        unknown ones, units of another number or rate, features where units are wanted, and a speaker that does not fit.
        """
        if isinstance(content, Units):
            if not self.module.config.num_units:
                raise DataError("this mel decoder takes features of speech, not units")
            content = self.card.units.frames_of(content, "mel decoder")
        device = self.module.mean.device
        given = torch.as_tensor(content).to(device)
        who = speaker.to(device) if isinstance(speaker, Tensor) else self.speaker(speaker)
        return self.module.decode(given, sampling, speaker=who, more=more, prompt=prompt).cpu()

    def speaker(self, name: str | None) -> int | None:
        """A speaker's number; DataError for a name that is not there, or missing."""
        names = self.module.config.speakers
        if name is None and not names:
            return None  # of one voice, or told by an embedding
        if name not in names:
            raise DataError(f"speaker {name!r}: not one of this mel decoder's "
                            f"({', '.join(names[:20]) or 'it has no voice with a name'})")  # fmt: skip
        return names.index(name)

    def hear(self, model: UnitModel, samples: np.ndarray) -> Units | Tensor:
        """What it is told of samples [S] at the model's rate: units, its features [T, D], or soft units of them."""
        if self.module.config.num_units:
            return model(samples, model.sample_rate)
        frames = model.pretrained.features_long(torch.from_numpy(samples), self.card.layer)
        return model.soft(frames) if self.card.soft else frames

    def check(self, unit_model: str) -> None:
        """DataError unless units (or features) of the unit model with this hash are what it decodes."""
        self.card.units.check(unit_model, "mel decoder")


def sha256(decoder: MelDecoder) -> str:
    """Identity of a mel decoder: over its config and every tensor."""
    return stored.digest([FORMAT, stored.without(config.to_dict(decoder.config), _LATER)], decoder)


def check_fits(decoder: MelDecoder, units: SpokenUnits) -> None:
    """ConfigError for units that a mel decoder of this shape cannot decode."""
    own = decoder.config
    if decoder.rate_hz != units.rate_hz or own.num_units not in (0, units.num_units):
        raise ConfigError(f"{units.num_units} units at {units.rate_hz:g} Hz for a mel decoder of {own.num_units} units "
                          f"at {decoder.rate_hz:g} Hz")  # fmt: skip


def save(
    folder: str | Path, decoder: MelDecoder, units: SpokenUnits, *, layer: int = 0, name: str = "mel decoder",
    licence: str = "", training: dict[str, Any] | None = None, embedder: str = "", soft: bool = False,
) -> MelDecoderCard:  # fmt: skip
    """Write a mel decoder into `folder`, made if absent; returns its card. ConfigError where it does not fit."""
    check_fits(decoder, units)
    card = MelDecoderCard(FORMAT, name, decoder.config, units, layer, sha256(decoder), licence, training or {},
                          embedder, soft)  # fmt: skip
    return stored.write(folder, decoder, card)


def is_one(folder: str | Path) -> bool:
    """Whether a folder says that it holds a mel decoder."""
    return stored.is_one(folder, FORMAT)


def read_card(folder: str | Path) -> MelDecoderCard:
    """card.json, checked for its form only. CheckpointError where there is none."""
    return stored.read_card(folder, MelDecoderCard, FORMAT, "mel decoder", "recipes.mel")


def load(folder: str | Path) -> TrainedMelDecoder:
    """A mel decoder in eval mode. CheckpointError where files are missing, damaged or not those of card.json."""
    folder = Path(folder)
    card = read_card(folder)
    with stored.reading(folder, "mel decoder"):
        decoder = stored.read_weights(folder, lambda: MelDecoder(card.config))
        check_fits(decoder, card.units)
    stored.check_identity(folder, sha256(decoder), card.sha256)
    return TrainedMelDecoder(decoder, card)
