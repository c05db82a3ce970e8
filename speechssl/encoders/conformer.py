"""A conformer (arXiv:2005.08100) over log-mel frames, 50 a second.

The front end is MelHuBERT's (`nn.mel_frontend`), the blocks are in `nn.conformer`. Trainable by every objective that
works with HuBERT but MP3, because relative positions give places away, and data2vec 2.0, which leaves frames out.
"""

from dataclasses import dataclass
from typing import ClassVar

from speechssl.errors import ConfigError
from speechssl.nn.conformer import Conformer, Norm
from speechssl.nn.mel_frontend import MelFrontEnd, check_mel
from speechssl.nn.speech_encoder import Blocks, SpeechEncoder


@dataclass(frozen=True)
class Config(Blocks):
    """Defaults: the paper's small model, of 10 M parameters, which has 40 ms frames."""

    num_mels: int = 80
    projection_norm: bool = False  # mel channels are normalised over time; over channels, loudness would be lost
    dim: int = 144
    ffn_dim: int = 576
    norm_first: bool = True  # each block ends with a norm; no other way is built
    num_layers: int = 16
    num_heads: int = 4
    kernel: int = 31  # frames
    relative: bool = True  # positions
    conv_norm: Norm = "layer"  # the paper: "batch"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_mel("conformer", self.num_mels, self.sample_rate)
        if self.num_layers < 0 or self.num_heads < 1 or self.dim % self.num_heads or not self.norm_first:
            raise ConfigError(f"conformer needs dim={self.dim} to be a multiple of num_heads={self.num_heads}, "
                              f"num_layers={self.num_layers} >= 0 and norm_first")  # fmt: skip
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"conformer needs an odd kernel, got {self.kernel}")
        super().__post_init__()

    @property
    def front_dim(self) -> int:
        """Channels of two log-mel frames."""
        return 2 * self.num_mels


class Model(SpeechEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 50 a second."""

    attends: ClassVar[bool] = False  # not by attention alone

    def __init__(self, config: Config) -> None:
        blocks = Conformer(dim=config.dim, ffn_dim=config.ffn_dim, num_layers=config.num_layers,
                           num_heads=config.num_heads, kernel=config.kernel, norm=config.conv_norm,
                           relative=config.relative, eps=config.layer_norm_eps)  # fmt: skip
        front = MelFrontEnd(num_mels=config.num_mels, sample_rate=config.sample_rate)
        super().__init__(config, transformer=blocks, conv=front)


PRESETS = {"small": Config(), "tiny": Config(dim=128, ffn_dim=512, num_layers=6, kernel=15)}
