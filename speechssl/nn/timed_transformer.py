"""A transformer that is told a time: the diffusion transformer's adaptive layer norm (DiT, arXiv:2212.09748), with one
projection of the time for all blocks and a table of each block's own (PixArt-alpha, arXiv:2310.00426, section 2.3).

differs: gates start at one, not at zero, so that every weight learns from the first update on.

B utterances, T frames, C channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.attention import Attention
from speechssl.nn.lengths import zero_padding
from speechssl.nn.transformer import FeedForward

_PARTS = 6  # shift, scale and gate of attention and of the feed-forward network
_FASTEST = 1000.0  # radians from time 0 to time 1


class TimedTransformer(nn.Module):
    """Frames and a time to frames. Without `timed` every block has its table alone."""

    def __init__(self, *, dim: int, ffn_dim: int, num_layers: int, num_heads: int, timed: bool = True) -> None:
        super().__init__()
        self.dim = dim
        self.time: nn.Module | None = None
        if timed:
            self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, _PARTS * dim))
            nn.init.normal_(self.time[2].weight, 0, 0.02)
            nn.init.zeros_(self.time[2].bias)
        self.layers = nn.ModuleList(TimedBlock(dim, ffn_dim, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, valid: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """[B, T, C] of x [B, T, C], zeros where `valid` [B, T] is False; time [B] in 0..1, where it is timed."""
        shared: Tensor | float = 0.0
        if self.time is not None:
            if time is None:
                raise ValueError("this transformer must be told the time")
            shared = self.time(time_features(time, self.dim).to(x.dtype)).unflatten(1, (_PARTS, self.dim))
        keys = None if valid is None else valid | ~valid.any(1, keepdim=True)
        if x.shape[1]:
            for layer in self.layers:
                x = layer(x, shared, keys)
        return zero_padding(self.norm(x), valid)


class TimedBlock(nn.Module):
    """Self-attention and feed-forward, each with a norm that is shifted and scaled, and a gate."""

    def __init__(self, dim: int, ffn_dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention, self.ffn = Attention(dim, num_heads), FeedForward(dim, ffn_dim)
        self.table = nn.Parameter(torch.zeros(_PARTS, dim))
        with torch.no_grad():
            self.table[2::3] = 1.0

    def forward(self, x: Tensor, shared: Tensor | float, keys: Tensor | None) -> Tensor:
        """[B, T, C]; shared: [B, 6, C] of the time, or 0."""
        parts = (self.table + shared).view(-1, _PARTS, 1, x.shape[2]).unbind(1)
        x = x + parts[2] * self.attention(_adapted(x, parts[0], parts[1]), keys, None)
        return x + parts[5] * self.ffn(_adapted(x, parts[3], parts[4]))


def _adapted(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def time_features(time: Tensor, dim: int) -> Tensor:
    """Sines and cosines [B, dim] of times [B], from 0.1 to 1000 radians a unit of time in a geometric progression."""
    half = (dim + 1) // 2
    rates = torch.exp(torch.linspace(math.log(0.1), math.log(_FASTEST), half, device=time.device))
    angles = time.float().unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :dim]
