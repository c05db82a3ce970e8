"""Units to waveform: an embedding of each unit, and of the speaker, then HiFi-GAN's generator at the units' rate.

CodeHiFiGAN of arXiv:2104.00355, section 2.2: the embeddings of a frame are put side by side, the speaker's beside every
frame. The generator is that of arXiv:2010.05646 (or any of `vocoders.generators`) and makes as many samples of a unit
as fit its rate: 320 at 16 kHz for 50 units a second.

Frames: unit t of an encoder with a hop of 320 samples stands for samples 320 t .. 320 t + 319, though the encoder saw
400 of them. T units give exactly T * hop samples; the last samples of a recording, which are of no frame, are not made.

B utterances, T frames, C channels, S samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from speechssl.config import to_dict
from speechssl.errors import ConfigError, DataError
from speechssl.vocoders import generators

_MOST = 1 << 24  # units and channels: a thousand times what any vocoder has
_PIECE = 500  # frames that are made at once


@dataclass(frozen=True)
class Config:
    """What a vocoder is made of."""

    num_units: int = 0  # V; recipes.vocoder takes it from the units
    dim: int = 128  # channels of a unit's embedding (speech-resynthesis, configs/LJSpeech: 128)
    speakers: tuple[str, ...] = ()  # names, each with an embedding; none: one voice
    speaker_dim: int = 128
    sample_rate: int = 16000  # Hz
    generator: dict[str, Any] = field(default_factory=lambda: {"kind": "wave"})  # see `vocoders.generators`

    def __post_init__(self) -> None:
        """Refuse sizes that no vocoder has."""
        if not 1 <= self.dim <= _MOST or not 1 <= self.speaker_dim <= _MOST or not 0 <= self.num_units <= _MOST:
            raise ConfigError(f"a vocoder needs dim and speaker_dim of at least 1, got {self.dim}, {self.speaker_dim}, "
                              f"for {self.num_units} units")  # fmt: skip
        if not 4000 <= self.sample_rate <= 192_000:
            raise ConfigError(f"sample_rate must be 4000..192000 Hz, got {self.sample_rate}")
        if len(set(self.speakers)) < len(self.speakers):
            raise ConfigError("speakers: a name is there twice")


class UnitVocoder(nn.Module):
    """`config` is the given one with all defaults spelt out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not config.num_units:
            raise ConfigError("a vocoder needs num_units, the number of units of its unit model")
        settings = generators.parse(config.generator)
        self.config = replace(config, generator={"kind": config.generator["kind"], **to_dict(settings)})
        self.units = nn.Embedding(config.num_units, config.dim)
        self.speakers = nn.Embedding(len(config.speakers), config.speaker_dim) if config.speakers else None
        self.generator = generators.build(config.dim + bool(config.speakers) * config.speaker_dim, settings)

    @property
    def hop(self) -> int:
        """Samples of a unit."""
        return self.generator.hop

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.sample_rate

    @property
    def rate_hz(self) -> float:
        """Units per second."""
        return self.sample_rate / self.hop

    def forward(self, ids: Tensor, speakers: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """wav [B, T * hop] of ids [B, T] int64, by speakers [B] int64; `valid` [B, T] are real frames (None: all)."""
        return self.generator(self.frames(ids, speakers), valid)

    def frames(self, ids: Tensor, speakers: Tensor | None = None) -> Tensor:
        """What the generator is given, [B, T, C]."""
        x = self.units(ids)
        if (speakers is None) != (self.speakers is None):
            raise DataError("a vocoder of several speakers must be told which one speaks, and one of one voice not")
        if self.speakers is None:
            return x
        return torch.cat([x, self.speakers(speakers).unsqueeze(1).expand(-1, x.shape[1], -1)], 2)

    @torch.inference_mode()
    def synthesize(self, ids: Tensor, speaker: int | None = None) -> Tensor:
        """wav [T * hop] of ids [T] of any length: `forward` up to rounding, made piece by piece.

        DataError for no units, units that do not exist, and a speaker that does not.
        """
        self.check(ids, speaker)
        return torch.cat(list(self.pieces(ids, speaker)))

    @torch.inference_mode()
    def pieces(self, ids: Tensor, speaker: int | None = None, *, size: int = _PIECE) -> Iterator[Tensor]:
        """The same in pieces of `size` frames; each is made with as many neighbours as it depends on, and no more."""
        left, right = self.generator.reach
        who = None if speaker is None else torch.tensor([speaker], device=ids.device)
        for start in range(0, len(ids), size):
            first = max(0, start - left)
            wav = self(ids[None, first : start + size + right], who)[0]
            yield wav[(start - first) * self.hop :][: size * self.hop]

    def check(self, ids: Tensor, speaker: int | None = None) -> None:
        """DataError for what cannot be spoken."""
        if ids.ndim != 1 or ids.is_floating_point():
            raise DataError(f"expected whole unit ids [T], got {ids.dtype} {list(ids.shape)}")
        if not len(ids):
            raise DataError("there are no units to speak: was the recording shorter than one frame?")
        least, most, count = int(ids.min()), int(ids.max()), self.config.num_units
        if least < 0 or most >= count:
            raise DataError(f"unit {least if least < 0 else most} is unknown: this vocoder has units 0..{count - 1}")
        names = self.config.speakers
        if (speaker is None) != (not names) or (speaker is not None and not 0 <= speaker < len(names)):
            raise DataError(f"speaker {speaker}: this vocoder has {len(names)} speakers to choose from")


def held(labels: Tensor, num_frames: int) -> Tensor:
    """Labels [B, num_frames] of labels [B, T], -1 behind the last of an utterance: the last one lasts to the end.

    A recording goes on for up to two hops behind its last whole frame.
    """
    missing = max(0, num_frames - labels.shape[1])
    labels = nn.functional.pad(labels[:, :num_frames], (0, missing), value=-1)
    last = ((labels >= 0).sum(1, keepdim=True) - 1).clamp_min(0)
    return torch.where(labels < 0, labels.gather(1, last), labels)


def num_frames(lengths: Tensor, hop: int) -> Tensor:
    """Units that cover so many samples, the last one partly."""
    return torch.div(lengths + hop - 1, hop, rounding_mode="floor")
