"""From an encoder's frames, or from units, to what a decoder looks at: fewer frames, and blocks of the model's own.

Over nothing but log-mel frames (an encoder without blocks) this is the whole encoder of a speech-to-unit model
(arXiv:2107.05604) or of a recogniser; over a pretrained encoder a few layers, or just the subsampling.

B utterances, T frames, C channels of the frames, D of the adaptor.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conformer import Conformer, Norm
from speechssl.nn.decoder_blocks import InputDropout
from speechssl.nn.lengths import valid_or_none, zero_padding
from speechssl.nn.positional import sinusoids
from speechssl.nn.subsample import Subsample
from speechssl.nn.transformer import Transformer
from speechssl.nn.zipformer import Zipformer

Positions = Literal["", "sinusoidal", "relative", "rotary", "none"]
# Settings that came later; with these values hashes are what they were.
LATER = {"positions": "", "first_position": 0, "scale": None, "linear": False, "conv_bias": True}


@dataclass(frozen=True)
class Config:
    """Defaults: fairseq's s2ut_transformer behind 20 ms frames. After each field: its name there."""

    kind: Literal["transformer", "conformer", "zipformer"] = "transformer"
    strides: tuple[int, ...] = (2,)  # of the convolutions in front
    kernel: int = 5  # of those; conv_kernel_sizes
    channels: int = 1024  # between two of those, before GLU; conv_channels
    dim: int = 512  # D; encoder_embed_dim
    ffn_dim: int = 2048  # encoder_ffn_embed_dim
    num_layers: int = 12  # encoder_layers; zipformer: see num_blocks
    num_heads: int = 8  # encoder_attention_heads
    conv_kernel: int = 31  # conformer and zipformer; depthwise_conv_kernel_size
    conv_norm: Norm = "layer"  # conformer
    num_blocks: tuple[int, ...] = ()  # zipformer: of each stack
    factors: tuple[int, ...] = ()  # zipformer: by which each stack's rate is lower
    positions: Positions = ""  # pos_enc_type; "": sinusoidal for a transformer, relative for the others
    first_position: int = 0  # number of the first frame's place among sinusoids; 2 in fairseq
    scale: bool | None = None  # by the root of dim, not no_scale_embedding; None: a transformer's frames
    linear: bool = False  # a linear map of what enters the blocks; fairseq's conformer has it
    conv_bias: bool = True  # conformer: of its convolutions; fairseq's has none

    def __post_init__(self) -> None:
        """Refuse what cannot be built, and settings without effect."""
        possible = {"transformer": ("sinusoidal", "none"), "zipformer": ("relative",),
                    "conformer": ("sinusoidal", "relative", "rotary", "none")}[self.kind]  # fmt: skip
        if self.order not in possible:
            raise ConfigError(f"positions={self.positions!r}: a {self.kind} has {' or '.join(possible)} ones")
        if self.first_position < 0 or (self.first_position and self.order != "sinusoidal"):
            raise ConfigError(f"first_position={self.first_position} is of sinusoidal positions, and at least 0")
        if not self.conv_bias and self.kind != "conformer":
            raise ConfigError(f"conv_bias=false has no effect on a {self.kind}")
        sizes = (self.kernel, self.channels, self.dim, self.ffn_dim, self.num_heads, self.conv_kernel, *self.strides)
        if min(sizes) < 1 or self.num_layers < 0 or self.dim % self.num_heads or self.dim % 2:
            raise ConfigError(f"an adaptor needs sizes >= 1 and an even dim, a multiple of num_heads, got {self}")
        if (self.kind == "zipformer") != bool(self.num_blocks) or len(self.num_blocks) != len(self.factors):
            raise ConfigError("num_blocks and factors, as many of each, belong to an adaptor of kind zipformer")

    @property
    def order(self) -> Positions:
        """How blocks know the order of frames."""
        return self.positions or ("sinusoidal" if self.kind == "transformer" else "relative")

    @property
    def scaled(self) -> bool:
        """Whether frames are scaled by the root of dim."""
        return self.kind == "transformer" if self.scale is None else self.scale


class Adaptor(nn.Module):
    """Frames [B, T, in_dim] to [B, T', D] with T' = ceil(T / factor)."""

    def __init__(self, config: Config, in_dim: int) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        self.subsample = Subsample(in_dim, config.dim, strides=config.strides, kernel=config.kernel,
                                   channels=config.channels)  # fmt: skip
        self.linear = nn.Linear(config.dim, config.dim) if config.linear else None
        self.drop = InputDropout()
        self.blocks = _blocks(config)
        self.num_layers = len(self.blocks.layers)

    def states(self, x: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """The output, and before it what each block returns, each [B, T', D] with zeros behind the end; counts [B].

        Entry 0 is what enters the first block, entry k what block k returns, the last the output.
        """
        x, lengths = self.subsample(x, lengths)
        if self.config.scaled:
            x = x * math.sqrt(self.dim)
        if self.config.order == "sinusoidal":
            x = x + sinusoids(x.shape[1], self.dim, self.config.first_position).to(x)
        if self.linear is not None:
            x = self.linear(x)
        valid = valid_or_none(lengths, x.shape[1])
        states = [zero_padding(state, valid) for state in self.blocks.states(self.drop(x), valid)]
        return [*states, zero_padding(self.blocks.norm(states[-1]), valid)], lengths

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The output [B, T', D] and its counts [B], of x [B, T, in_dim] with lengths [B]."""
        states, lengths = self.states(x, lengths)
        return states[-1], lengths


def _blocks(config: Config) -> Transformer:
    match config.kind:
        case "transformer":
            return Transformer(dim=config.dim, ffn_dim=config.ffn_dim, num_layers=config.num_layers,
                               num_heads=config.num_heads, norm_first=True, activation=F.relu)  # fmt: skip
        case "conformer":
            return Conformer(dim=config.dim, ffn_dim=config.ffn_dim, num_layers=config.num_layers,
                             num_heads=config.num_heads, kernel=config.conv_kernel, norm=config.conv_norm,
                             bias=config.conv_bias, relative=config.order == "relative",
                             rotary=config.order == "rotary")  # fmt: skip
        case _:
            return Zipformer(dim=config.dim, ffn_dim=config.ffn_dim, num_blocks=config.num_blocks,
                             factors=config.factors, num_heads=config.num_heads, kernel=config.conv_kernel)  # fmt: skip
