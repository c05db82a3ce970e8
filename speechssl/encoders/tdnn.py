"""A TDNN: dilated convolutions over log-mel frames, 50 a second. The family of the built-in model.

The front end is MelHuBERT's (`nn.mel_frontend`), the blocks are in `nn.dilated`. Trainable by every objective that
works with HuBERT but data2vec 2.0 and MP3, which need attention. Post-norm: what a block returns is normalised, so that
k-means of any layer sees frames of one scale.
"""

from dataclasses import dataclass
from typing import ClassVar

from speechssl.errors import ConfigError
from speechssl.nn.dilated import DilatedBlocks
from speechssl.nn.mel_frontend import MelFrontEnd, check_mel
from speechssl.nn.speech_encoder import Blocks, SpeechEncoder


@dataclass(frozen=True)
class Config(Blocks):
    """Defaults: 2.3 M parameters that see 0.2 s to either side."""

    num_mels: int = 80
    projection_norm: bool = False  # mel channels are normalised over time; over channels, loudness would be lost
    dim: int = 256
    ffn_dim: int = 512
    kernel: int = 3  # frames
    dilations: tuple[int, ...] = (1, 1, 2, 2, 3)  # of each block's convolution, frames

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_mel("tdnn", self.num_mels, self.sample_rate)
        if self.kernel < 1 or self.kernel % 2 == 0 or min(self.dilations, default=1) < 1:
            raise ConfigError(f"tdnn needs an odd kernel and dilations of at least 1, got {self.kernel} and "
                              f"{self.dilations}")  # fmt: skip
        super().__post_init__()

    @property
    def front_dim(self) -> int:
        """Channels of two log-mel frames."""
        return 2 * self.num_mels


class Model(SpeechEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 50 a second."""

    attends: ClassVar[bool] = False

    def __init__(self, config: Config) -> None:
        blocks = DilatedBlocks(dim=config.dim, ffn_dim=config.ffn_dim, kernel=config.kernel, dilations=config.dilations,
                               norm_first=config.norm_first, eps=config.layer_norm_eps)  # fmt: skip
        front = MelFrontEnd(num_mels=config.num_mels, sample_rate=config.sample_rate)
        super().__init__(config, transformer=blocks, conv=front)


PRESETS = {"small": Config()}
