"""Transformer blocks over the frames of one utterance, x [T, C], with packed linears: query, key and value as one
product, the residual added and the GELU applied where the product is written.

T frames, C channels, H heads.
"""

from collections.abc import Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.alibi import AlibiTransformer
from speechssl.nn.attention import Attention
from speechssl.nn.fast.conv import layer_norm
from speechssl.nn.fast.linear import PackedLinear
from speechssl.nn.relative_bias import GatedRelativeAttention, RelativeTransformer, relative_buckets
from speechssl.nn.transformer import Block, FeedForward, Transformer

_QUERIES = 256  # of gated attention at once: biases of all pairs of frames would be many
_LOW_QUERIES = 1024  # of one head at once in bfloat16


class FastAttention:
    """`Attention` or `GatedRelativeAttention`, and the residual."""

    def __init__(self, attention: nn.Module, dtype: torch.dtype) -> None:
        """TypeError for another kind of attention."""
        if type(attention) not in (Attention, GatedRelativeAttention):
            raise TypeError(f"no fast form of {type(attention).__name__}")
        assert isinstance(attention, Attention)
        parts = (attention.query, attention.key, attention.value)
        self._heads = attention.num_heads
        self._inputs = PackedLinear(torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]), dtype)
        self._out = PackedLinear(attention.out.weight, attention.out.bias, dtype)
        self._gate: tuple[Tensor, Tensor, Tensor] | None = None
        if isinstance(attention, GatedRelativeAttention):
            # The gate sums its 8 outputs by fours: the sum of weights does it in the product.
            weight, bias = (p.detach().float().unflatten(0, (2, 4)).sum(1) for p in attention.gate.parameters())
            self._gate = weight.clone(), bias.clone(), attention.gate_scale.detach().view(-1, 1).clone()

    def __call__(self, x: Tensor, residual: Tensor, positions: Tensor | None) -> Tensor:
        """residual + attention(x), all [T, C]; `positions` [H, 2 T - 1]: biases of distances 1 - T..T - 1."""
        query, key, value = self._split(x, positions is not None)
        if positions is not None:
            y = self._biased(x, query, key, value, positions)
        elif self._inputs.dtype == torch.bfloat16:
            return self._out.plus(_attend_low(query[0], key[0], value[0]), residual)
        else:
            y = F.scaled_dot_product_attention(query, key, value)
        return self._out.plus(y[0].transpose(0, 1).flatten(1), residual)

    def _split(self, x: Tensor, biased: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each [1, H, T, C / H]; views of one product. With biases to come in float32."""
        x = self._inputs(x)
        x = x.float() if biased else x
        query, key, value = x.unflatten(1, (3, self._heads, -1)).permute(1, 2, 0, 3).unsqueeze(1)
        return query, key, value

    def _biased(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, table: Tensor) -> Tensor:
        """Attention [1, H, T, C / H] with the biases of `table` [H, 2 T - 1], times gates if it has some."""
        gate = self._gates(x)
        # The row of query i begins at entry T - 1 - i: with the queries in reverse all rows are one ascending view.
        query, gate, rows = query.flip(2), gate.flip(1), table.unfold(1, len(x), 1)
        y = torch.empty_like(query)
        for start in range(0, len(x), _QUERIES):
            some = slice(start, start + _QUERIES)
            mask = (gate[:, some] * rows[:, some]).unsqueeze(0)
            y[:, :, some] = F.scaled_dot_product_attention(query[:, :, some], key, value, attn_mask=mask)
        return y.flip(2)

    def _gates(self, x: Tensor) -> Tensor:
        """Each query's gate [H, T, 1], ones where this attention has none."""
        if self._gate is None:
            return x.new_ones(self._heads, len(x), 1)
        weight, bias, scale = self._gate
        gates = F.linear(x.unflatten(1, (self._heads, -1)), weight, bias).sigmoid_()  # [T, H, 2]
        first, second = gates.permute(2, 1, 0)
        return (first * (second * scale - 1) + 2).unsqueeze(-1)


def _attend_low(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention [T, C] of bfloat16 [H, T, C / H] by plain products: torch's fused kernel is slower than float32's.

    Scores and weights are bfloat16 too, sums float32. In stretches of queries, so that scores stay in the cache.
    """
    num_heads, num_frames, width = query.shape
    query, key = query * width**-0.5, key.transpose(1, 2)
    y = query.new_empty(num_frames, num_heads, width)
    for head in range(num_heads):
        one = slice(head, head + 1)
        for start in range(0, num_frames, _LOW_QUERIES):
            some = slice(start, start + _LOW_QUERIES)
            scores = torch.bmm(query[one, some], key[one])
            y[some, head] = torch.bmm(torch.softmax(scores, -1, out=scores), value[one])[0]
    return y.flatten(1)


class FastBlock:
    """`Block`, of either order of norms."""

    def __init__(self, block: Block, dtype: torch.dtype) -> None:
        if not isinstance(block.ffn, FeedForward):
            raise TypeError(f"no fast form of {type(block.ffn).__name__}")
        self._norm_first = block.norm_first
        self._attention = FastAttention(block.attention, dtype)
        self._up = PackedLinear(block.ffn.up.weight, block.ffn.up.bias, dtype)
        self._down = PackedLinear(block.ffn.down.weight, block.ffn.down.bias, dtype)
        self._attention_norm, self._ffn_norm = layer_norm(block.attention_norm), layer_norm(block.ffn_norm)

    def __call__(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """[T, C] to the same."""
        assert self._attention_norm is not None and self._ffn_norm is not None
        if self._norm_first:
            x = self._attention(self._attention_norm(x), x, positions)
            return self._down.plus(self._up.gelu(self._ffn_norm(x)), x)
        x = self._attention_norm(self._attention(x, x, positions))
        return self._ffn_norm(self._down.plus(self._up.gelu(x), x))


class _RelativeBias:
    """`RelativeTransformer.positions`, without holding on to that module."""

    def __init__(self, transformer: RelativeTransformer) -> None:
        self._num_buckets, self._max_distance = transformer.num_buckets, transformer.max_distance
        self._table = transformer.relative_embedding.weight.detach().clone()

    def __call__(self, num_frames: int) -> Tensor:
        distances = torch.arange(1 - num_frames, num_frames)
        return self._table[relative_buckets(distances, self._num_buckets, self._max_distance)].T.contiguous()


class _DistanceBias:
    """`AlibiTransformer.positions` as biases of distances."""

    def __init__(self, transformer: AlibiTransformer) -> None:
        self._falls = (transformer.slopes * transformer.scale.clamp(min=0)).detach().float().clone()

    def __call__(self, num_frames: int) -> Tensor:
        return -self._falls.unsqueeze(1) * torch.arange(1 - num_frames, num_frames).abs()


class FastTransformer:
    """`Transformer`: its outer norm and its blocks."""

    def __init__(self, transformer: Transformer, dtype: torch.dtype) -> None:
        """TypeError for a kind it does not know."""
        if type(transformer) not in (Transformer, RelativeTransformer, AlibiTransformer):
            raise TypeError(f"no fast form of {type(transformer).__name__}")
        self._norm_first = transformer.norm_first
        self._norm = layer_norm(transformer.norm)
        self._blocks = [FastBlock(block, dtype) for block in transformer.layers]
        self._relative: _RelativeBias | _DistanceBias | None = None
        if isinstance(transformer, RelativeTransformer):
            self._relative = _RelativeBias(transformer)
        elif isinstance(transformer, AlibiTransformer):
            self._relative = _DistanceBias(transformer)

    def states(self, x: Tensor, upto: int | None = None) -> Iterator[Tensor]:
        """States 0..upto, each [T, C], of x [T, C] (frames plus positional embedding), T > 0."""
        if not self._norm_first and self._norm is not None:
            x = self._norm(x)
        yield x
        positions = None if self._relative is None else self._relative(len(x))
        for block in islice(self._blocks, upto):
            x = block(x, positions)
            yield x

    def final(self, state: Tensor) -> Tensor:
        """What the encoder returns, of its last state."""
        return self._norm(state) if self._norm_first and self._norm is not None else state
