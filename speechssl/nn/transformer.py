"""The transformer of wav2vec 2.0 and its descendants, post-norm or pre-norm, one block at a time.

B utterances, T frames, C channels. State k is what block k returns, untouched; state 0 enters block 1. Post-norm models
(arXiv:1706.03762) normalise before the first block and inside each, pre-norm models ("stable layer norm",
arXiv:2002.04745) at the start of each branch and once after the last block.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechssl.nn.attention import Attention


class FeedForward(nn.Module):
    """Linear, GELU (or what is given), linear."""

    dropout = 0.0  # of the activations; see nn.dropout

    def __init__(self, dim: int, ffn_dim: int, activation: Callable[[Tensor], Tensor] = F.gelu) -> None:
        super().__init__()
        self.up = nn.Linear(dim, ffn_dim)
        self.down = nn.Linear(ffn_dim, dim)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to the same."""
        return self.down(F.dropout(self.activation(self.up(x)), self.dropout, self.training))


class Block(nn.Module):
    """Self-attention and feed-forward, each with a residual and a norm. `attention` follows `nn.attention`'s call."""

    dropout = 0.0  # of what each branch adds; see nn.dropout

    def __init__(self, attention: nn.Module, *, dim: int, ffn_dim: int, norm_first: bool, eps: float,
                 activation: Callable[[Tensor], Tensor] = F.gelu) -> None:  # fmt: skip
        super().__init__()
        self.norm_first = norm_first
        self.attention = attention
        self.attention_norm = nn.LayerNorm(dim, eps=eps)
        self.ffn = FeedForward(dim, ffn_dim, activation)
        self.ffn_norm = nn.LayerNorm(dim, eps=eps)

    def forward(
        self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None,
        branches: list[Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """[B, T, C] to the same; `keys` and `positions` go to the attention.

        What the feed-forward network gives, before dropout, residual and norm, is appended to `branches`.
        """
        if self.norm_first:
            x = x + self._drop(self.attention(self.attention_norm(x), keys, positions))
            y = self.ffn(self.ffn_norm(x))
        else:
            x = self.attention_norm(x + self._drop(self.attention(x, keys, positions)))
            y = self.ffn(x)
        if branches is not None:
            branches.append(y)
        x = x + self._drop(y)
        return x if self.norm_first else self.ffn_norm(x)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Transformer(nn.Module):
    """A stack of blocks with its one outer norm (before the blocks if post-norm, after them if pre-norm).

    `attention` makes one attention module per block (default: plain `Attention`). A subclass that knows about relative
    positions overrides `positions`, whose result reaches every block's attention. `norm=False` leaves the outer norm
    out.
    """

    dropout = 0.0  # of what enters the first block; see nn.dropout
    layer_drop = 0.0  # probability that a block is skipped
    recompute = False  # in the backward pass, in place of keeping what is inside blocks: less memory, a third more time

    def __init__(self, *, dim: int, ffn_dim: int, num_layers: int, num_heads: int, norm_first: bool = False,
                 eps: float = 1e-5, norm: bool = True, attention: Callable[[], nn.Module] | None = None,
                 activation: Callable[[Tensor], Tensor] = F.gelu) -> None:  # fmt: skip
        super().__init__()
        self.norm_first = norm_first
        self.norm = nn.LayerNorm(dim, eps=eps) if norm else nn.Identity()
        make = attention or (lambda: Attention(dim, num_heads))
        self.layers = nn.ModuleList(
            Block(make(), dim=dim, ffn_dim=ffn_dim, norm_first=norm_first, eps=eps, activation=activation)
            for _ in range(num_layers)
        )

    def positions(self, num_frames: int) -> Tensor | None:
        """What every block's attention is told about relative positions; nothing here."""
        return None

    def states(
        self, x: Tensor, valid: Tensor | None = None, *, upto: int | None = None, positions: Tensor | None = None,
        branches: list[Tensor] | None = None,
    ) -> Iterator[Tensor]:  # fmt: skip
        """States 0..upto of x [B, T, C] (frames plus positional embedding); blocks above upto are never called.

        `valid` [B, T] is True at real frames; the states of the others are finite but mean nothing. `positions`: in
        place of those of T frames in a row, for frames that are not. `branches` collects what each block's
        feed-forward network gives.
        """
        x = F.dropout(x if self.norm_first else self.norm(x), self.dropout, self.training)
        yield x
        # An utterance without one real frame would ask for a softmax over nothing: let it look at its padding.
        keys = None if valid is None else valid | ~valid.any(1, keepdim=True)
        if positions is None and x.shape[1]:
            positions = self.positions(x.shape[1])
        for block in islice(self.layers, upto):
            if x.shape[1] and not self._skips():
                x = self._call(block, x, keys, positions, branches)
            yield x

    def _call(
        self, block: nn.Module, x: Tensor, keys: Tensor | None, positions: Tensor | None,
        branches: list[Tensor] | None,
    ) -> Tensor:  # fmt: skip
        if self.recompute and torch.is_grad_enabled() and branches is None:
            return checkpoint(block, x, keys, positions, use_reentrant=False)
        return block(x, keys, positions, branches)

    def _skips(self) -> bool:
        return self.training and self.layer_drop > 0 and float(torch.rand(())) < self.layer_drop

    def forward(self, x: Tensor, valid: Tensor | None = None, *, positions: Tensor | None = None) -> Tensor:
        """The final output [B, T, C]: the last state, normalised in pre-norm models."""
        for state in self.states(x, valid, positions=positions):
            x = state
        return self.norm(x) if self.norm_first else x
