"""DeBERTa's disentangled attention (arXiv:2006.03654, equation 4), with the log buckets of its version 2.

The score of query frame i and key frame j is (q_i k_j + q_i k^r_b(i-j) + k_j q^r_b(i-j)) / sqrt(3 d): content to
content, content to position, position to content. b maps distances to rows of one table of embeddings, shared by
all blocks.

B utterances, T frames, C channels, H heads, R = 2 * span rows of the table.
"""

import math

import torch
from torch import Tensor, nn

from speechssl.nn.attention import Attention, merge_heads, score_bias, split_heads
from speechssl.nn.transformer import Transformer


class DisentangledAttention(Attention):
    """Attention that scores contents against positions, too; `share_keys`: with the contents' projections."""

    def __init__(self, dim: int, num_heads: int, *, num_buckets: int, max_distance: int, share_keys: bool,
                 content_to_position: bool, position_to_content: bool) -> None:  # fmt: skip
        super().__init__(dim, num_heads)
        self.num_buckets, self.max_distance = num_buckets, max_distance
        self.content_to_position, self.position_to_content = content_to_position, position_to_content
        self.pos_key = nn.Linear(dim, dim) if content_to_position and not share_keys else None
        self.pos_query = nn.Linear(dim, dim) if position_to_content and not share_keys else None

    def forward(self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same; `positions` [R, C] is the table of relative embeddings."""
        if positions is None:
            raise ValueError("DisentangledAttention needs the relative embeddings, see DisentangledTransformer")
        query, key, value = (split_heads(layer(x), self.num_heads) for layer in (self.query, self.key, self.value))
        factor = 1 + self.content_to_position + self.position_to_content
        scale = 1 / math.sqrt(factor * query.shape[-1])
        bias = self._position_scores(query, key, positions)
        bias = None if bias is None else bias * scale
        y = self.weigh(query, key, value, score_bias(keys, bias), scale=scale)
        return self.out(merge_heads(y))

    def _position_scores(self, query: Tensor, key: Tensor, table: Tensor) -> Tensor | None:
        """Both position terms [B, H, T, T], unscaled."""
        rows = relative_rows(query.shape[2], self.num_buckets, self.max_distance, table.shape[0], table.device)
        index = rows.expand(*query.shape[:2], -1, -1)
        scores = None
        if self.content_to_position:
            pos_keys = split_heads((self.pos_key or self.key)(table)[None], self.num_heads)
            scores = (query @ pos_keys.mT).gather(-1, index)
        if self.position_to_content:
            pos_queries = split_heads((self.pos_query or self.query)(table)[None], self.num_heads)
            to_content = (key @ pos_queries.mT).gather(-1, index.mT).mT
            scores = to_content if scores is None else scores + to_content
        return scores


class DisentangledTransformer(Transformer):
    """Post-norm blocks of `DisentangledAttention` with their common table; there is no norm before the first block."""

    def __init__(self, *, dim: int, ffn_dim: int, num_layers: int, num_heads: int, eps: float, num_buckets: int,
                 max_distance: int, share_keys: bool, content_to_position: bool, position_to_content: bool,
                 relative_norm: bool) -> None:  # fmt: skip
        super().__init__(
            dim=dim, ffn_dim=ffn_dim, num_layers=num_layers, num_heads=num_heads, eps=eps, norm=False,
            attention=lambda: DisentangledAttention(
                dim, num_heads, num_buckets=num_buckets, max_distance=max_distance, share_keys=share_keys,
                content_to_position=content_to_position, position_to_content=position_to_content,
            ),
        )  # fmt: skip
        self.relative_embedding = nn.Embedding(2 * (num_buckets or max_distance), dim)
        self.relative_norm = nn.LayerNorm(dim, eps=eps) if relative_norm else nn.Identity()

    def positions(self, num_frames: int) -> Tensor:
        """The table [R, C]."""
        return self.relative_norm(self.relative_embedding.weight)


def relative_rows(num_frames: int, num_buckets: int, max_distance: int, num_rows: int, device: torch.device) -> Tensor:
    """The table's row for query i and key j, [T, T] int64: the bucket of i - j, counted from the table's middle."""
    distances = torch.arange(1 - num_frames, num_frames, device=device)
    buckets = log_buckets(distances, num_buckets, max_distance) if num_buckets else distances
    rows = (buckets + num_rows // 2).clamp(0, num_rows - 1)
    return rows.unfold(0, num_frames, 1).flip(
        1
    )  # entry d + T - 1 holds distance d; row i runs down from i to i - T + 1


def log_buckets(distances: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """DeBERTa v2's buckets: distances up to num_buckets / 2 as they are, larger ones logarithmically, signed, int64.

    In float32 as in the released code: where a logarithm falls on a border, the weights were trained so.
    """
    middle = num_buckets // 2
    absolute = distances.abs()
    ratio = torch.log(absolute.clamp_min(1) / middle) / torch.log(torch.tensor((max_distance - 1) / middle))
    far = torch.ceil(ratio * (middle - 1)).long() + middle
    return torch.where(absolute <= middle, distances, far * distances.sign())
