"""What can be heard in mels: F0, and units if it is taught; small and frozen, so that others can be judged by it.

In the place of the JDC network (F0) and of the recogniser in StarGANv2-VC (arXiv:2107.10394): gradients pass through it
to the mels, its hidden layer tells a decoder the pitch, and what it finds has to stay when a voice is converted.
differs: JDC is convolutional and recurrent on a longer stretch and trained on many voices; this has dilated
convolutions over time and learns from `speechssl pitch` of the corpus at hand. The recogniser says phonemes by CTC;
this says the unit of every frame.

B utterances, T mel frames, M mel bins, C channels, V units.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.dilated import DilatedConv
from speechssl.nn.mel_definition import MelDefinition

MIDDLE_HZ = 160.0  # what the network says as 0
_MOST = 1 << 16


@dataclass(frozen=True)
class Config:
    """Of the network and of the mels that it reads."""

    num_units: int = 0  # V; 0: it hears F0 alone
    dim: int = 64
    dilations: tuple[int, ...] = (1, 2, 4)
    kernel: int = 5
    num_mels: int = 80
    hop: int = 160  # samples of a mel frame
    window: int = 1024  # samples
    sample_rate: int = 16000  # Hz

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        sizes = (self.dim, self.kernel, self.num_mels, self.hop, *self.dilations)
        if min(sizes) < 1 or max(*sizes, self.num_units, self.window) > _MOST or self.num_units < 0:
            raise ConfigError(f"a mel reader needs sizes of 1..{_MOST}, got {self}")
        if not self.kernel % 2 or self.window < self.hop or (self.window - self.hop) % 2:
            raise ConfigError(f"a mel reader needs an odd kernel, and window={self.window} at least hop={self.hop} and "
                              "even with it")  # fmt: skip
        if not 4000 <= self.sample_rate <= 192_000:
            raise ConfigError(f"sample_rate must be 4000..192000 Hz, got {self.sample_rate}")

    @property
    def mel_definition(self) -> MelDefinition:
        """What its mels are."""
        return MelDefinition(sample_rate=self.sample_rate, hop=self.hop, window=self.window, num_mels=self.num_mels)


class MelReader(nn.Module):
    """`mean` and `scale` [M] are of the training data's mels; everything here takes and gives log mels of power."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.pitch = FrameStack(config)
        self.f0 = nn.Linear(config.dim, 2)  # log F0 over MIDDLE_HZ, logit of voicing
        self.content = FrameStack(config) if config.num_units else None
        self.units = nn.Linear(config.dim, config.num_units) if config.num_units else None
        self.register_buffer("mean", torch.zeros(config.num_mels))
        self.register_buffer("scale", torch.ones(config.num_mels))

    def mels(self, wav: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
        """Log mels [B, num_frames, M] of wav [B, S] with lengths [B]."""
        with torch.autocast(wav.device.type, enabled=False):
            return self.config.mel_definition.log_mels(wav, lengths, num_frames)

    def hear_pitch(self, mel: Tensor) -> Tensor:
        """The hidden layer [B, T, C] that F0 is said of."""
        return self.pitch((mel - self.mean) / self.scale)

    def hear_content(self, mel: Tensor) -> Tensor:
        """The hidden layer [B, T, C] that units are said of. ConfigError where it was taught none."""
        if self.content is None:
            raise ConfigError("this mel reader hears no units: train it with data.labels (recipes.mel_reader)")
        return self.content((mel - self.mean) / self.scale)

    def hertz(self, hidden: Tensor) -> Tensor:
        """F0 [B, T] in Hz of `hear_pitch`, times the probability of being voiced: with a gradient everywhere."""
        log_f0, voicing = self.f0(hidden).float().unbind(2)
        return MIDDLE_HZ * log_f0.clamp(-3, 3).exp() * voicing.sigmoid()


class FrameStack(nn.Module):
    """Log mels to frames of the same number: a convolution, then dilated ones beside shortcuts, and a norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.first = nn.Conv1d(config.num_mels, config.dim, config.kernel, padding=config.kernel // 2)
        self.layers = nn.ModuleList(
            DilatedConv(config.dim, kernel=config.kernel, dilation=dilation) for dilation in config.dilations
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.dim) for _ in config.dilations)
        self.last = nn.LayerNorm(config.dim)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, T, C] of normalised mels [B, T, M]."""
        x = F.gelu(self.first(mel.transpose(1, 2)).transpose(1, 2))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(norm(x))
        return self.last(x)
