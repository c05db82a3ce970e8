"""The encoder of a neural codec that hears log-mel frames: ConvNeXt blocks, Vocos's backbone (arXiv:2306.00814).

A small part of the arithmetic of `codec_wave`, and deaf to phase, which the decoder has to make up. Every begun hop is
a frame, around the middle of its samples; what the quantizer sees is layer 0.
"""

from dataclasses import dataclass

from speechssl.errors import ConfigError
from speechssl.nn.wave_encoder import FrameEncoder, SpectralEncoder


@dataclass(frozen=True)
class Config:
    """Defaults: Vocos's 8 blocks of 512 channels, on 50 frames a second."""

    dim: int = 128
    channels: int = 512
    num_blocks: int = 8
    hop: int = 320  # samples
    window: int = 1024  # samples
    num_mels: int = 80
    sample_rate: int = 16_000

    def __post_init__(self) -> None:
        """Refuse what nobody builds."""
        if self.num_blocks > 1000 or self.dim < 1 or self.hop < 1 or self.sample_rate < 1:
            raise ConfigError(f"codec_mel needs dim, hop and sample_rate of at least 1, got {self}")


class Model(FrameEncoder):
    """Waveform [B, S] to frames [B, ceil(S / hop), dim]."""

    def __init__(self, config: Config) -> None:
        front = SpectralEncoder(config.dim, channels=config.channels, hop=config.hop, num_blocks=config.num_blocks,
                                window=config.window, num_mels=config.num_mels,
                                sample_rate=config.sample_rate)  # fmt: skip
        super().__init__(config, front)


PRESETS = {"vocos": Config()}
