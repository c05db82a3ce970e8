"""Attention biases that fall with distance (ALiBi, arXiv:2108.12409), symmetric and with a learned scale per head.

data2vec 2.0 (arXiv:2212.07525) has them beside its convolutional positional embedding: they know how far apart two
frames are even where the frames between them are left out.

B utterances, T frames, H heads.
"""

import math

import torch
from torch import Tensor, nn

from speechssl.nn.transformer import Transformer


def slopes(num_heads: int) -> Tensor:
    """The paper's slope of each head, [H] float32: 2^(-8/H), 2^(-16/H) ... for powers of two.

    Other numbers get those of the power below, then every other one of the power above, as in the authors' code.
    """
    power = 2 ** int(math.log2(num_heads))
    steps = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    between = [2 ** (-8 * (head + 1) / (2 * power)) for head in range(0, 2 * power, 2)]
    return torch.tensor([*steps, *between][:num_heads])


class AlibiTransformer(Transformer):
    """Every block adds -slope * scale * |distance| to its scores; `scale` [H] is learned, 1 at first."""

    def __init__(self, *, dim: int, ffn_dim: int, num_layers: int, num_heads: int, norm_first: bool,
                 eps: float) -> None:  # fmt: skip
        super().__init__(dim=dim, ffn_dim=ffn_dim, num_layers=num_layers, num_heads=num_heads, norm_first=norm_first,
                         eps=eps)  # fmt: skip
        self.register_buffer("slopes", slopes(num_heads), persistent=False)
        self.scale = nn.Parameter(torch.ones(num_heads))

    def positions(self, num_frames: int) -> Tensor:
        """Bias [H, T, T] of T frames in a row."""
        return self.biases(torch.arange(num_frames, device=self.scale.device).unsqueeze(0))[0]

    def biases(self, places: Tensor) -> Tensor:
        """Bias [B, H, T, T] of frames whose numbers are places [B, T]."""
        distances = (places.unsqueeze(2) - places.unsqueeze(1)).abs().to(self.scale.dtype)
        return -(self.slopes * self.scale.clamp(min=0)).view(1, -1, 1, 1) * distances.unsqueeze(1)
