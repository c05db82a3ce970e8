"""A vocoder of mels on disk, and as who says recordings again: copy synthesis.

card.json           config (what the mels are, the generator), name, licence, sha256
model.safetensors   plain weights, and mean and scale of the mels
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl import config
from speechssl.convert import mel_hifigan
from speechssl.errors import DataError
from speechssl.nn.mel_definition import MelDefinition
from speechssl.units import stored
from speechssl.units.vocoder import DTYPES, Precision, no_fast_form
from speechssl.vocoders import griffin_lim
from speechssl.vocoders.mel_vocoder import Config, MelVocoder

FORMAT = "speechssl-mel-vocoder-1"
_MOST_BYTES = 16 << 20  # of card.json


@dataclass(frozen=True)
class MelVocoderCard:
    """card.json, field by field."""

    format: str
    name: str
    config: Config
    sha256: str  # `sha256` of the vocoder
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedMelVocoder:
    """A trained vocoder of mels with its card: log mels to a waveform."""

    module: MelVocoder
    card: MelVocoderCard

    def __call__(self, mels: Tensor | np.ndarray) -> Tensor:
        """wav [T * hop] float32 at `sample_rate` of log mels [T, M], which must be those of its card.

        DataError for no mels, and for what is not finite or of other bands.
        """
        return self.module.synthesize(torch.as_tensor(mels).to(self.module.mean)).cpu()

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.module.sample_rate

    @property
    def identity(self) -> str:
        """What decides the samples."""
        return self.card.sha256

    def mels(self, samples: np.ndarray) -> Tensor:
        """Its log mels [T, M] of samples [S] at its rate, of whole hops; T = 0 where there is none."""
        wav, definition = torch.from_numpy(samples)[None].to(self.module.mean), self.module.config.mels
        count = definition.num_frames(len(samples)) if len(samples) else 0
        if not count:
            return torch.zeros(0, definition.num_mels)
        return self.module.mels_of(wav, torch.tensor([len(samples)]), count)[0].cpu()

    def check(self, mels: MelDefinition, whose: str) -> None:
        """DataError, with how they differ, unless the mels that somebody makes are the vocoder's."""
        self.module.config.mels.check(mels, f"mel vocoder {self.card.name!r}", whose)

    def accelerate(self, precision: Precision = "fp32") -> "TrainedMelVocoder":
        """As `units.vocoder.Vocoder.accelerate`."""
        possible = self.module.accelerate(DTYPES[precision])
        if precision != "fp32" and not possible:
            raise no_fast_form(precision)
        return self


@dataclass(frozen=True)
class CopySynthesis:
    """What `extract.resynthesis` wants of a voice: recordings again, from their own mels."""

    vocoder: TrainedMelVocoder
    has_pitch: bool = False
    takes_units: bool = False

    @property
    def sample_rate(self) -> int:
        """Hz; recordings are wanted at this rate, too."""
        return self.vocoder.sample_rate

    @property
    def identity(self) -> str:
        """What decides the samples."""
        return f"copy synthesis {self.vocoder.identity}"

    def hear(self, model: object, samples: np.ndarray) -> Tensor:
        """Log mels [T, M] of samples [S] at its rate; there is no unit model."""
        return self.vocoder.mels(samples)

    def __call__(
        self, units: Tensor, speaker: str | Tensor | None = None, pitch: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """wav [S] float32 of log mels [T, M]. DataError for pitch, and for a speaker: it has no voice of its own."""
        if pitch is not None:
            raise DataError("copy synthesis takes no pitch")
        self.speaker(speaker if isinstance(speaker, str) else None)
        return self.vocoder(units)

    def check(self, unit_model: str) -> None:
        """It speaks no units, so that any would do."""

    def speaker(self, name: str | None) -> None:
        """DataError for a name: recordings stay in the voices that they are in."""
        if name is not None:
            raise DataError(f"speaker {name!r}: copy synthesis leaves every voice as it is (no --speaker)")

    def predict_durations(self, ids: np.ndarray) -> np.ndarray:
        """DataError: mels have no runs."""
        raise DataError("copy synthesis predicts no durations: --durations kept")

    def pitch_input(self, pitch: Tensor) -> Tensor:
        """DataError: it takes no pitch."""
        raise DataError("copy synthesis takes no pitch")


def sounded(mels: Tensor, definition: MelDefinition, vocoder: TrainedMelVocoder | None, iterations: int) -> Tensor:
    """wav [S] float32 of log mels [T, M] by a vocoder of them, or Griffin-Lim in so many iterations."""
    if vocoder is not None:
        return vocoder(mels)
    return torch.from_numpy(griffin_lim.waveform(mels.numpy(), definition, iterations=iterations))


def sounded_by(vocoder: TrainedMelVocoder | None, iterations: int) -> str:
    """What decides the samples of `sounded` beside the mels."""
    return f"griffin-lim {iterations}" if vocoder is None else f"vocoder {vocoder.identity}"


def sha256(vocoder: MelVocoder) -> str:
    """Identity of a vocoder of mels: over its config and every tensor."""
    return stored.digest([FORMAT, config.to_dict(vocoder.config)], vocoder)


def save(
    folder: str | Path, vocoder: MelVocoder, *, name: str = "mel vocoder", licence: str = "",
    training: dict[str, Any] | None = None,
) -> MelVocoderCard:  # fmt: skip
    """Write a vocoder with plain weights (`Learning.trained`) into `folder`, made if absent; returns its card."""
    card = MelVocoderCard(FORMAT, name, vocoder.config, sha256(vocoder), licence, training or {})
    return stored.write(folder, vocoder, card)


def load(folder: str | Path) -> TrainedMelVocoder:
    """A vocoder of mels in eval mode: ours, or a released HiFi-GAN (`convert.mel_hifigan`).

    CheckpointError where files are missing, damaged or not those of card.json.
    """
    folder = Path(folder)
    if not (folder / "card.json").exists() and (folder / "config.json").is_file():
        vocoder = mel_hifigan.load(folder)
        return TrainedMelVocoder(vocoder, MelVocoderCard(FORMAT, folder.name, vocoder.config, sha256(vocoder)))
    card = stored.read_card(folder, MelVocoderCard, FORMAT, "mel vocoder", "recipes.mel_vocoder")
    with stored.reading(folder, "mel vocoder"):
        vocoder = stored.read_weights(folder, lambda: MelVocoder(card.config))
    stored.check_identity(folder, sha256(vocoder), card.sha256)
    return TrainedMelVocoder(vocoder, card)
