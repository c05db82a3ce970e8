"""Configs of the networks that make waveforms of frames, by the name of their kind; see `nn.wave_generator`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from speechssl import config
from speechssl.errors import ConfigError
from speechssl.nn.wave_blocks import Activation
from speechssl.nn.wave_generator import SpectralGenerator, WaveGenerator


@dataclass(frozen=True)
class Wave:
    """Transposed convolutions. Defaults: the Descript codec's decoder at 16 kHz."""

    channels: int = 1536  # at the frame rate; half as many after each stride
    strides: tuple[int, ...] = (8, 5, 4, 2)
    up_kernels: tuple[int, ...] = ()  # empty: two strides each
    kernels: tuple[int, ...] = (7,)  # of the residual branches
    dilations: tuple[int, ...] = (1, 3, 9)
    last_kernel: int = 1  # of a residual unit's second convolution; 0: as the first
    activation: Activation = "snake"

    def __post_init__(self) -> None:
        """Refuse what nobody builds."""
        parts = (self.strides, self.kernels, self.dilations, self.up_kernels)
        if max(map(len, parts)) > 16 or (self.up_kernels and len(self.up_kernels) != len(self.strides)):
            raise ConfigError(f"a generator needs an upsampling kernel for each stride, or none named, got {self}")


@dataclass(frozen=True)
class Spectral:
    """ConvNeXt blocks and an inverse STFT. Defaults: Vocos's size, 50 frames a second."""

    channels: int = 512
    num_blocks: int = 8
    hop: int = 320  # samples
    window: int = 1280  # samples

    def __post_init__(self) -> None:
        """Refuse what nobody builds."""
        if self.num_blocks > 1000:
            raise ConfigError(f"{self.num_blocks} blocks are more than any generator has")


KINDS: dict[str, type[Wave] | type[Spectral]] = {"wave": Wave, "spectral": Spectral}


def parse(values: Mapping[str, Any]) -> Wave | Spectral:
    """The config of {"kind": "wave" or "spectral", and values of it}. ConfigError for what it does not know."""
    values = dict(values)
    kind = values.pop("kind", None)
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of generator {kind!r} (known: {', '.join(KINDS)})")
    return config.build(KINDS[kind], values)


def build(dim: int, settings: Wave | Spectral, *, last_slope: float = 0.1) -> WaveGenerator | SpectralGenerator:
    """A generator of frames of `dim` channels. last_slope: of the leaky ReLU before the last convolution."""
    if isinstance(settings, Spectral):
        if last_slope != 0.1:
            raise ConfigError("last_slope has no effect on this kind of generator")
        return SpectralGenerator(dim, channels=settings.channels, hop=settings.hop, num_blocks=settings.num_blocks,
                                 window=settings.window)  # fmt: skip
    made = WaveGenerator(dim, channels=settings.channels, strides=settings.strides,
                         up_kernels=settings.up_kernels or None, kernels=settings.kernels,
                         dilations=settings.dilations, last_kernel=settings.last_kernel or None,
                         kind=settings.activation)  # fmt: skip
    if isinstance(made.activation, nn.LeakyReLU):
        made.activation = nn.LeakyReLU(last_slope)
    elif last_slope != 0.1:
        raise ConfigError("last_slope has no effect on this kind of generator")
    return made
