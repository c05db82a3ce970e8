"""Attention that knows how far apart two frames are: Transformer-XL's relative positions (arXiv:1901.02860, section
3.3), as the conformer has them (arXiv:2005.08100).

B utterances, T frames, C channels, H heads.
"""

import math

import torch
from torch import Tensor, nn

from speechssl.nn.attention import Attention, merge_heads, score_bias, split_heads


def relative_sinusoids(num_frames: int, dim: int) -> Tensor:
    """[2 T - 1, C] float32: the embeddings of distances T - 1 .. 1 - T (query's place minus key's); sines at even C."""
    distances = torch.arange(num_frames - 1, -num_frames, -1).unsqueeze(1)
    angles = distances * torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :dim]


def by_distance(scores: Tensor) -> Tensor:
    """Scores [..., T, T] of queries and keys, from scores [..., T, 2 T - 1] of queries and distances T - 1 .. 1 - T."""
    num_frames = scores.shape[-2]
    rows = scores.new_zeros(*scores.shape[:-1], 2 * num_frames)  # one longer: read one shorter, every row moves by one
    rows[..., 1:] = scores
    return rows.flatten(-2)[..., num_frames:].unflatten(-1, (num_frames, 2 * num_frames - 1))[..., :num_frames]


class RelativeAttention(Attention):
    """softmax of ((q + u) k + (q + v) W r) / root of C / H, with r the embedding of the distance."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__(dim, num_heads)
        self.position = nn.Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(num_heads, dim // num_heads))
        self.position_bias = nn.Parameter(torch.zeros(num_heads, dim // num_heads))

    def forward(self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same; `positions` [2 T - 1, C]: `relative_sinusoids`."""
        if positions is None:
            raise ValueError("RelativeAttention needs the embeddings of distances, see relative_sinusoids")
        query, key, value = (split_heads(layer(x), self.num_heads) for layer in (self.query, self.key, self.value))
        places = split_heads(self.position(positions).unsqueeze(0), self.num_heads)
        scale = query.shape[-1] ** -0.5
        bias = by_distance((query + self.position_bias.unsqueeze(1)) @ places.transpose(-1, -2)) * scale
        query = query + self.content_bias.unsqueeze(1)
        return self.out(merge_heads(self.weigh(query, key, value, score_bias(keys, bias), scale=scale)))
