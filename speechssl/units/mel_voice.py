"""A mel decoder with a vocoder of mels behind it, or Griffin-Lim: speaks as a unit vocoder does.

Where it takes features or soft units of speech in place of units, recordings are all that it can speak. K units of a
prompt, T of what is spoken, D channels of features.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from speechssl.errors import DataError
from speechssl.units.mel_decoder import TrainedMelDecoder
from speechssl.units.mel_vocoder import TrainedMelVocoder, sounded, sounded_by
from speechssl.units.model import UnitModel
from speechssl.units.units import Units
from speechssl.vocoders.mel_decoder import Sampling


@dataclass(frozen=True)
class Prompt:
    """Speech to go on from, in its voice: what was said, and how."""

    content: Tensor  # ids [K] int64, or features [K, D]
    mel: Tensor  # [frames_per_unit * K, M] log mels


@dataclass(frozen=True)
class MelVoice:
    """Offers what `extract.resynthesis` wants of a voice. DataError for a vocoder of other mels than the decoder's."""

    decoder: TrainedMelDecoder
    sampling: Sampling = field(default_factory=Sampling)
    iterations: int = 60  # of Griffin-Lim
    prompt: Prompt | None = None  # of a flow or diffusion; what is spoken goes on from it
    vocoder: TrainedMelVocoder | None = None  # in place of Griffin-Lim

    def __post_init__(self) -> None:
        """Refuse a vocoder of other mels."""
        if self.vocoder is not None:
            self.vocoder.check(self.decoder.module.config.mel_definition, f"mel decoder {self.decoder.card.name!r}")

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.decoder.module.config.sample_rate

    @property
    def identity(self) -> str:
        """What decides the samples."""
        claimed = f"{self.decoder.card.sha256} {self.sampling} {sounded_by(self.vocoder, self.iterations)}"
        if self.prompt is None:
            return claimed
        told = hashlib.sha256(self.prompt.content.numpy().tobytes() + self.prompt.mel.numpy().tobytes()).hexdigest()
        return f"{claimed} prompt {told}"

    @property
    def has_pitch(self) -> bool:
        """It takes none."""
        return False

    @property
    def takes_units(self) -> bool:
        """Whether units are what it speaks, not features of speech."""
        return self.decoder.module.config.num_units > 0

    def hear(self, model: UnitModel, samples: np.ndarray) -> Units | Tensor:
        """What it is told of samples [S]: see `TrainedMelDecoder.hear`."""
        return self.decoder.hear(model, samples)

    def __call__(
        self, units: Units | Tensor | np.ndarray, speaker: str | Tensor | None = None, pitch: Tensor | None = None
    ) -> Tensor:
        """wav [S] float32 of units, or of what `hear` gives; see `TrainedMelDecoder`. DataError for pitch."""
        if pitch is not None:
            raise DataError("a mel decoder takes no pitch")
        if self.decoder.module.prosody is not None:
            raise DataError("this mel decoder wants pitch and energy of recordings: speechssl convert-voice")
        return self.sound(self._mel(units, speaker))

    def sound(self, mel: Tensor) -> Tensor:
        """wav [S] float32 of log mels [T, M]."""
        return sounded(mel, self.decoder.module.config.mel_definition, self.vocoder, self.iterations)

    def _mel(self, units: Units | Tensor | np.ndarray, speaker: str | Tensor | None) -> Tensor:
        if self.prompt is None:
            return self.decoder(units, speaker, sampling=self.sampling)
        content = self.decoder.card.units.frames_of(units, "mel decoder") if isinstance(units, Units) else units
        whole = torch.cat([self.prompt.content, torch.as_tensor(content)])
        mel = self.decoder(whole, speaker, sampling=self.sampling, prompt=self.prompt.mel)
        return mel[len(self.prompt.mel) :]

    def check(self, unit_model: str) -> None:
        """DataError unless it speaks units of the unit model with this hash."""
        self.decoder.check(unit_model)

    def speaker(self, name: str | None) -> int | None:
        """A speaker's number; DataError for a name that is not there, or missing."""
        return self.decoder.speaker(name)

    def predict_durations(self, ids: np.ndarray) -> np.ndarray:
        """DataError: it has no durations of its own."""
        raise DataError("a mel decoder predicts no durations: --durations kept")

    def pitch_input(self, pitch: Tensor) -> Tensor:
        """DataError: it takes no pitch."""
        raise DataError("a mel decoder takes no pitch")
