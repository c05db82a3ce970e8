"""WavLM's gated relative position bias (arXiv:2110.13900, section IV-A): T5's buckets, scaled per query and head.

One table of biases is shared by all blocks; each block has its own gate. The released code, and so this module, has the
gate of the formula rearranged: `a * (b * scale - 1) + 2` with one scale per head.

B utterances, T frames, C channels, H heads.
"""

import math

import torch
from torch import Tensor, nn

from speechssl.nn.attention import Attention, merge_heads, score_bias, split_heads
from speechssl.nn.transformer import Transformer

_QUERIES = 256


class GatedRelativeAttention(Attention):
    """Attention whose relative bias is scaled by a gate computed from each query frame."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__(dim, num_heads)
        self.gate = nn.Linear(dim // num_heads, 8)
        self.gate_scale = nn.Parameter(torch.ones(1, num_heads, 1, 1))

    def forward(self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same; `positions` [H, 2 T - 1] is the ungated bias of distances 1 - T..T - 1.

        Queries are taken a few at a time: their biases for all T x T pairs would need 0.4 GB for a minute of audio.
        """
        if positions is None:
            raise ValueError("GatedRelativeAttention needs the relative bias, see RelativeTransformer")
        query, key, value = (split_heads(layer(x), self.num_heads) for layer in (self.query, self.key, self.value))
        first, second = self.gate(split_heads(x, self.num_heads)).unflatten(-1, (2, 4)).sum(-1).sigmoid().unbind(-1)
        gates = (first * (second * self.gate_scale.squeeze(-1) - 1) + 2).unsqueeze(-1)
        outputs = []
        for start in range(0, x.shape[1], _QUERIES):
            rows = slice(start, start + _QUERIES)
            bias = score_bias(keys, gates[:, :, rows] * bias_rows(positions, rows))
            outputs.append(self.weigh(query[:, :, rows], key, value, bias))
        return self.out(merge_heads(torch.cat(outputs, dim=2)))


def bias_rows(table: Tensor, queries: slice) -> Tensor:
    """Bias [H, len(queries), T] of these queries for all keys, from the biases of distances, table [H, 2 T - 1]."""
    num_frames = (table.shape[1] + 1) // 2
    start, stop, _ = queries.indices(num_frames)
    # the row of query i begins with distance -i, which is entry T - 1 - i
    return table[:, num_frames - stop : 2 * num_frames - 1 - start].unfold(1, num_frames, 1).flip(1)


class RelativeTransformer(Transformer):
    """A transformer of `GatedRelativeAttention` blocks with their common table of biases."""

    def __init__(self, *, dim: int, ffn_dim: int, num_layers: int, num_heads: int, norm_first: bool, eps: float,
                 num_buckets: int, max_distance: int) -> None:  # fmt: skip
        super().__init__(dim=dim, ffn_dim=ffn_dim, num_layers=num_layers, num_heads=num_heads, norm_first=norm_first,
                         eps=eps, attention=lambda: GatedRelativeAttention(dim, num_heads))  # fmt: skip
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.relative_embedding = nn.Embedding(num_buckets, num_heads)

    def positions(self, num_frames: int) -> Tensor:
        """Bias [H, 2 T - 1] of a query looking at a key 1 - T..T - 1 frames ahead; for all blocks."""
        distances = torch.arange(1 - num_frames, num_frames, device=self.relative_embedding.weight.device)
        return self.relative_embedding(relative_buckets(distances, self.num_buckets, self.max_distance)).T


def relative_buckets(distances: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """T5's buckets (arXiv:1910.10683) of key minus query positions, int64: half for keys ahead, half for the others.

    Each half gives one bucket to each small distance, then logarithmically wider ones up to max_distance, and the last
    to all beyond. In float32 as in the released code: where a logarithm falls on a border, the weights were trained so.
    """
    half = num_buckets // 2
    exact = half // 2
    absolute = distances.abs()
    wide = torch.log(absolute.clamp_min(1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    wide = (exact + wide).long().clamp_max(half - 1)
    return torch.where(absolute < exact, absolute, wide) + (distances > 0) * half
