"""A zipformer-style encoder (arXiv:2310.11230) over log-mel frames, 50 a second, as the paper's first stack.

The front end is MelHuBERT's (`nn.mel_frontend`) in place of the paper's convolutions; the blocks are in `nn.zipformer`.
Layer k is what stack k returns, at the full rate. Trainable by every objective that works with HuBERT but MP3 and
data2vec 2.0, see `encoders.conformer`.
"""

from dataclasses import dataclass
from typing import ClassVar

from speechssl.errors import ConfigError
from speechssl.nn.mel_frontend import MelFrontEnd, check_mel
from speechssl.nn.speech_encoder import Blocks, SpeechEncoder
from speechssl.nn.zipformer import Zipformer


@dataclass(frozen=True)
class Config(Blocks):
    """Defaults: stacks and factors of the paper's; its dim grows towards the middle, this one does not."""

    num_mels: int = 80
    projection_norm: bool = False  # mel channels are normalised over time; over channels, loudness would be lost
    dim: int = 192
    ffn_dim: int = 512  # of the second network in a block; the first has 3/4, the third 5/4 of it
    norm_first: bool = True  # no other way is built
    num_blocks: tuple[int, ...] = (2, 2, 2, 2, 2, 2)  # of each stack
    factors: tuple[int, ...] = (1, 2, 4, 8, 4, 2)  # by which each stack's frame rate is lower
    num_heads: int = 4
    kernel: int = 31  # frames of the stack

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_mel("zipformer", self.num_mels, self.sample_rate)
        same = len(self.num_blocks) == len(self.factors) and min((*self.num_blocks, *self.factors), default=1) >= 1
        if sum(self.num_blocks) > 1000:
            raise ConfigError(f"num_blocks: {sum(self.num_blocks)} are more than any model has")
        if not same or self.num_heads < 1 or self.dim % self.num_heads or not self.norm_first or self.ffn_dim < 4:
            raise ConfigError(f"zipformer needs as many factors as num_blocks, all >= 1, dim a multiple of num_heads, "
                              f"ffn_dim >= 4 and norm_first, got {self}")  # fmt: skip
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"zipformer needs an odd kernel, got {self.kernel}")
        super().__post_init__()

    @property
    def front_dim(self) -> int:
        """Channels of two log-mel frames."""
        return 2 * self.num_mels


class Model(SpeechEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 50 a second."""

    attends: ClassVar[bool] = False  # not by attention alone

    def __init__(self, config: Config) -> None:
        blocks = Zipformer(dim=config.dim, ffn_dim=config.ffn_dim, num_blocks=config.num_blocks, factors=config.factors,
                           num_heads=config.num_heads, kernel=config.kernel)  # fmt: skip
        front = MelFrontEnd(num_mels=config.num_mels, sample_rate=config.sample_rate)
        super().__init__(config, transformer=blocks, conv=front)


PRESETS = {"small": Config(), "tiny": Config(dim=128, num_blocks=(1, 1, 1, 1), factors=(1, 2, 4, 2), kernel=15)}
