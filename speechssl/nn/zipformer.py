"""Zipformer-style blocks and stacks at several frame rates (arXiv:2310.11230).

A block computes its attention weights once and uses them three times, normalises once, and passes what it was given
around itself (bypass). A stack averages neighbouring frames, so that its blocks run at a fraction of the rate, and
repeats what they give.

differs: relative positions are Transformer-XL's sinusoids with few channels, not the paper's compact ones; the
training tricks (balancers, whiteners, scheduled dropout, ScaledAdam, the bypass' limit that falls over time) are left
out; every stack has the same dim.

B utterances, T frames, C channels, H heads. `keys` [B, T] is True at real frames.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.attention import merge_heads, score_bias, split_heads
from speechssl.nn.lengths import zero_padding
from speechssl.nn.relative_attention import by_distance, relative_sinusoids
from speechssl.nn.transformer import FeedForward, Transformer

_POSITION_DIM = 48  # channels of the embeddings of distances
_LEAST = 0.2  # of a bypass' share that comes from the block


def swoosh_r(x: Tensor) -> Tensor:
    """Section 3.4: log(1 + exp(x - 1)) - 0.08 x - 0.313261687, which is 0 at 0."""
    return F.softplus(x - 1) - 0.08 * x - 0.313261687


def swoosh_l(x: Tensor) -> Tensor:
    """Section 3.4: log(1 + exp(x - 4)) - 0.08 x - 0.035, for what is mostly off: feed-forward networks."""
    return F.softplus(x - 4) - 0.08 * x - 0.035


class BiasNorm(nn.Module):
    """Section 3.3: x / RMS(x - b) * exp(γ), with b per channel and one γ; a large b keeps the length of x in part."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((dim,), 1e-4))
        self.log_scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to the same."""
        squares = (x - self.bias).square().mean(-1, keepdim=True).clamp_min(1e-20)
        return x * squares.rsqrt() * self.log_scale.exp()


class Bypass(nn.Module):
    """Section 3.2: (1 - c) x + c y, with c per channel, kept in 0.2..1."""

    def __init__(self, dim: int, share: float = 0.5) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.full((dim,), share))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x: what a module was given; y: what it made of it."""
        return x + (y - x) * self.share.clamp(_LEAST, 1.0)


class AttentionWeights(nn.Module):
    """Softmax weights [B, H, T, T], with a term for the distance of two frames."""

    def __init__(self, dim: int, num_heads: int, query_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key = nn.Linear(dim, num_heads * query_dim), nn.Linear(dim, num_heads * query_dim)
        self.place = nn.Linear(dim, 4 * num_heads)
        self.position = nn.Linear(_POSITION_DIM, 4 * num_heads, bias=False)

    def forward(self, x: Tensor, keys: Tensor | None, positions: Tensor) -> Tensor:
        """Of x [B, T, C]; positions [2 T - 1, 48]."""
        query, key, place = (split_heads(layer(x), self.num_heads) for layer in (self.query, self.key, self.place))
        distances = split_heads(self.position(positions).unsqueeze(0), self.num_heads)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        scores = scores + by_distance(place @ distances.transpose(-1, -2))
        bias = score_bias(keys, scores)
        assert bias is not None
        return bias.softmax(-1)


class SharedAttention(nn.Module):
    """Values weighed by given weights [B, H, T, T]."""

    def __init__(self, dim: int, num_heads: int, value_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.value, self.out = nn.Linear(dim, num_heads * value_dim), nn.Linear(num_heads * value_dim, dim)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """[B, T, C] to the same."""
        return self.out(merge_heads(weights @ split_heads(self.value(x), self.num_heads)))


class NonLinearAttention(nn.Module):
    """out(A * attention(tanh(B) * X)) with A, B, X linear in the frames, of 3/4 C channels, and one head's weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(dim, 3 * (3 * dim // 4)), nn.Linear(3 * dim // 4, dim)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """[B, T, C] to the same, weights [B, T, T]."""
        outer, gate, inner = self.up(x).chunk(3, -1)
        return self.down(outer * (weights @ (gate.tanh() * inner)))


class ZipConv(nn.Module):
    """Pointwise convolution and GLU, a depthwise convolution, SwooshR, pointwise convolution; no norm."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ConfigError(f"a zipformer's convolution needs an odd kernel, got {kernel}")
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """[B, T, C] to the same."""
        x = zero_padding(F.glu(self.up(x), -1), keys)
        return self.down(swoosh_r(self.depthwise(x.transpose(1, 2)).transpose(1, 2)))


class ZipformerBlock(nn.Module):
    """Section 3.2. Called as `nn.transformer.Block` is."""

    dropout = 0.0  # of what each branch adds; see nn.dropout

    def __init__(self, *, dim: int, ffn_dim: int, num_heads: int, kernel: int) -> None:
        super().__init__()
        size = max(1, dim // num_heads // 2)  # of queries and values, as many as the paper's small model has at most
        self.weights = AttentionWeights(dim, num_heads, size)
        self.ffn = nn.ModuleList(FeedForward(dim, part * ffn_dim // 4, swoosh_l) for part in (3, 4, 5))
        self.non_linear = NonLinearAttention(dim)
        self.attention = nn.ModuleList(SharedAttention(dim, num_heads, size) for _ in range(2))
        self.conv = nn.ModuleList(ZipConv(dim, kernel) for _ in range(2))
        self.middle, self.norm, self.bypass = Bypass(dim), BiasNorm(dim), Bypass(dim)

    def forward(
        self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None,
        branches: list[Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """[B, T, C] to the same; what the last feed-forward network gives is appended to `branches`."""
        if positions is None:
            raise ValueError("a zipformer block needs the embeddings of distances, see ZipformerStack")
        weights, y = self.weights(x, keys, positions), x
        y = y + self._drop(self.ffn[0](y))
        y = y + self._drop(self.non_linear(y, weights[:, 0]))
        y = y + self._drop(self.attention[0](y, weights))
        y = y + self._drop(self.conv[0](y, keys))
        y = self.middle(x, y + self._drop(self.ffn[1](y)))
        y = y + self._drop(self.attention[1](y, weights))
        y = y + self._drop(self.conv[1](y, keys))
        last = self.ffn[2](y)
        if branches is not None:
            branches.append(last)
        return self.bypass(x, self.norm(y + self._drop(last)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class ZipformerStack(nn.Module):
    """Blocks at 1 / factor of the frame rate, with a bypass around all of them. Called as a block is."""

    def __init__(self, make: Callable[[], ZipformerBlock], *, dim: int, num_blocks: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.blocks = nn.ModuleList(make() for _ in range(num_blocks))
        if factor > 1:
            self.shares = nn.Parameter(torch.zeros(factor))  # of each of the frames that become one
            self.bypass = Bypass(dim)

    def forward(
        self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None,
        branches: list[Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """[B, T, C] to the same. `positions` are not used: each rate has its own."""
        y, num_frames = x, x.shape[1]
        if self.factor > 1:
            y, keys = self._down(x, keys)
        places = relative_sinusoids(y.shape[1], _POSITION_DIM).to(x)
        for block in self.blocks:
            y = block(y, keys, places, branches)
        if self.factor == 1:
            return y
        return self.bypass(x, y.repeat_interleave(self.factor, 1)[:, :num_frames])

    def _down(self, x: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Means of `factor` frames each, of the real ones among them, and which are real."""
        missing = -x.shape[1] % self.factor
        real = x.new_ones(x.shape[:2], dtype=torch.bool) if keys is None else keys
        groups = F.pad(x, (0, 0, 0, missing)).unflatten(1, (-1, self.factor))
        members = F.pad(real, (0, missing)).unflatten(1, (-1, self.factor))
        any_real = members.any(2)
        scores = self.shares.masked_fill(~(members | ~any_real.unsqueeze(2)), float("-inf"))
        mean = (groups * scores.softmax(2).unsqueeze(-1)).sum(2)
        return mean, None if keys is None else any_real


class Zipformer(Transformer):
    """Stacks of blocks, one after another: stack i has num_blocks[i] blocks at 1 / factors[i] of the frame rate.

    `layers` are the stacks: state k is what stack k returns.
    """

    def __init__(self, *, dim: int, ffn_dim: int, num_blocks: Sequence[int], factors: Sequence[int], num_heads: int,
                 kernel: int = 31) -> None:  # fmt: skip
        super().__init__(dim=dim, ffn_dim=ffn_dim, num_layers=0, num_heads=num_heads, norm_first=True, norm=False)
        if len(num_blocks) != len(factors) or min([*num_blocks, *factors], default=0) < 1 or dim % num_heads:
            raise ConfigError(f"a zipformer needs as many factors as stacks, all of them >= 1, and dim a multiple of "
                              f"num_heads, got {list(num_blocks)}, {list(factors)}, {dim} and {num_heads}")  # fmt: skip

        def make() -> ZipformerBlock:
            return ZipformerBlock(dim=dim, ffn_dim=ffn_dim, num_heads=num_heads, kernel=kernel)

        self.layers = nn.ModuleList(
            ZipformerStack(make, dim=dim, num_blocks=number, factor=factor)
            for number, factor in zip(num_blocks, factors, strict=True)
        )
