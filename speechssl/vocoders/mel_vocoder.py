"""Log mels to waveform: HiFi-GAN (arXiv:2010.05646) as it was published, or any other of `vocoders.generators`.

What a unit vocoder is with mels in place of embeddings. `stacked` mel frames lie side by side for one frame of the
generator: two of 160 samples for one of 320, so that a generator of the units' rate can go on learning from mels.

B utterances, T mel frames, M mel bins, S samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.config import to_dict
from speechssl.errors import ConfigError, DataError
from speechssl.nn.mel_definition import MelDefinition
from speechssl.vocoders import generators
from speechssl.vocoders.frame_vocoder import PIECE, FrameVocoder


@dataclass(frozen=True)
class Config:
    """What a vocoder of mels is made of."""

    mels: MelDefinition = field(default_factory=MelDefinition)
    stacked: int = 1  # mel frames for one frame of the generator
    generator: dict[str, Any] = field(default_factory=lambda: {"kind": "wave"})  # see `vocoders.generators`
    last_slope: float = 0.1  # of the leaky ReLU before the last convolution; 0.01 in released vocoders

    def __post_init__(self) -> None:
        """Refuse what nobody builds."""
        if not 1 <= self.stacked <= 64:
            raise ConfigError(f"stacked={self.stacked} mel frames for one of the generator: give 1..64")


class MelVocoder(FrameVocoder):
    """`config` is the given one with all defaults spelt out; `mean` and `scale` [M] are of the training data's mels."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        settings = generators.parse(config.generator)
        self.config = replace(config, generator={"kind": config.generator["kind"], **to_dict(settings)})
        bins, hop = config.mels.num_mels, config.mels.hop * config.stacked
        self.generator = generators.build(bins * config.stacked, settings, last_slope=config.last_slope)
        if self.hop != hop:
            raise ConfigError(f"a generator that makes {self.hop} samples of a frame, for {config.stacked} mel frames "
                              f"of {config.mels.hop} samples: set stacked, mels.hop or the generator")  # fmt: skip
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("scale", torch.ones(bins))

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.config.mels.sample_rate

    def frames(self, mels: Tensor) -> Tensor:
        """The generator's frames [B, ceil(T / stacked), stacked * M] of log mels [B, T, M]; the last is held."""
        missing = -mels.shape[1] % self.config.stacked
        normal = (mels - self.mean) / self.scale
        if missing:
            normal = F.pad(normal.transpose(1, 2), (0, missing), mode="replicate").transpose(1, 2)
        return normal.unflatten(1, (-1, self.config.stacked)).flatten(2)

    def forward(self, mels: Tensor, valid: Tensor | None = None) -> Tensor:
        """wav [B, T * hop of the mels] of log mels [B, T, M]; `valid` are real frames of the generator (None: all)."""
        return self.sound(self.frames(mels), valid)[:, : mels.shape[1] * self.config.mels.hop]

    def mels_of(self, wav: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
        """Log mels [B, num_frames, M] of wav [B, S] with lengths [B]: `MelDefinition.log_mels`, in float32."""
        with torch.autocast(wav.device.type, enabled=False):
            return self.config.mels.log_mels(wav, lengths, num_frames)

    @torch.inference_mode()
    def synthesize(self, mels: Tensor) -> Tensor:
        """wav [T * hop] of log mels [T, M] of any length: `forward` up to rounding, made piece by piece.

        DataError for no mels, and for what is not finite or of other bands.
        """
        bins = self.config.mels.num_mels
        if mels.ndim != 2 or mels.shape[1] != bins or not bool(mels.isfinite().all()):
            raise DataError(f"expected finite mels [frames, {bins} bins], got {list(mels.shape)}")
        if not len(mels):
            raise DataError("there are no mels to speak: was the recording shorter than one frame?")
        return torch.cat(list(self.pieces(mels)))[: len(mels) * self.config.mels.hop]

    @torch.inference_mode()
    def pieces(self, mels: Tensor, *, size: int = PIECE) -> Iterator[Tensor]:
        """The same in pieces of `size` frames of the generator, the last one whole."""
        frames = self.frames(mels[None])
        yield from self.in_pieces(lambda seen: self.sound(frames[:, seen])[0], frames.shape[1], size)
