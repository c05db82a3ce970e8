"""Blocks that produce a sequence one token after another and look at an encoder's frames (arXiv:1706.03762).

Two ways through the same weights: `forward` over whole sequences, for training, and `step`, one token of each of W
hypotheses per utterance, for search. What was seen is kept in a `Past`, in which nothing is ever moved: hypothesis w
writes its token t to slot w of place t, and a table `owners` [B, W, T] says in whose slots a hypothesis finds its past.
All W hypotheses of an utterance share the keys and values of the frames, which are computed once.

B utterances, S frames (of the encoder), T tokens, W hypotheses, C channels, H heads. `valid` [B, S] is True at real
frames.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.attention import Attention, merge_heads, split_heads
from speechssl.nn.transformer import FeedForward


@dataclass(frozen=True)
class Memory:
    """Keys and values [B, H, S, C / H] of the encoder's frames in one block."""

    keys: Tensor
    values: Tensor

    def rows(self, index: Tensor) -> "Memory":
        """Of the utterances [B'] alone."""
        return Memory(self.keys.index_select(0, index), self.values.index_select(0, index))


class Past:
    """Keys and values of one block's own tokens, [B, places, W, C] each; grows by doubling."""

    def __init__(self, batch: int, width: int, dim: int, *, like: Tensor, places: int = 32) -> None:
        self.keys = like.new_zeros(batch, places, width, dim)  # zeros: what is masked must not be NaN
        self.values = torch.zeros_like(self.keys)

    def write(self, place: int, keys: Tensor, values: Tensor) -> None:
        """keys, values [B, w, C] of the first w hypotheses at a place."""
        if place == self.keys.shape[1]:
            self.keys, self.values = (torch.cat([x, torch.zeros_like(x)], 1) for x in (self.keys, self.values))
        self.keys[:, place, : keys.shape[1]] = keys
        self.values[:, place, : values.shape[1]] = values

    def upto(self, places: int, num_heads: int) -> tuple[Tensor, Tensor]:
        """[B, H, places * W, C / H] each, views."""
        keys, values = (x[:, :places].flatten(1, 2) for x in (self.keys, self.values))
        return split_heads(keys, num_heads), split_heads(values, num_heads)

    def rows(self, index: Tensor) -> None:
        """Keep the utterances [B'] alone."""
        self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)


class CausalAttention(Attention):
    """Self-attention in which token t sees tokens 0..t."""

    def forward(self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same. Padding comes last, where no real token looks: `keys` and `positions` are not used."""
        query, key, value = (split_heads(layer(x), self.num_heads) for layer in (self.query, self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        return self.out(merge_heads(F.scaled_dot_product_attention(query, key, value, is_causal=True,
                                                                   dropout_p=dropout)))  # fmt: skip

    def step(self, x: Tensor, past: Past, place: int, mask: Tensor | None) -> Tensor:
        """[B, w, C], the token at `place` of w hypotheses, to the same.

        mask [B, 1, w, (place + 1) * W]: True at the slots of their own pasts; None where there is but one slot.
        """
        past.write(place, self.key(x), self.value(x))
        keys, values = past.upto(place + 1, self.num_heads)
        query = split_heads(self.query(x), self.num_heads)
        return self.out(merge_heads(self.weigh(query, keys, values, mask)))


class CrossAttention(Attention):
    """Attention to an encoder's frames of `memory_dim` channels."""

    def __init__(self, dim: int, num_heads: int, memory_dim: int) -> None:
        super().__init__(dim, num_heads)
        self.key, self.value = nn.Linear(memory_dim, dim), nn.Linear(memory_dim, dim)

    def remember(self, frames: Tensor) -> Memory:
        """Keys and values of frames [B, S, memory_dim]."""
        return Memory(*(split_heads(layer(frames), self.num_heads) for layer in (self.key, self.value)))

    def look(self, x: Tensor, memory: Memory, mask: Tensor | None) -> Tensor:
        """x [B, T, C] to the same; mask [B, 1, 1, S], True at frames that may be looked at."""
        query = split_heads(self.query(x), self.num_heads)
        return self.out(merge_heads(self.weigh(query, memory.keys, memory.values, mask)))


class InputDropout(nn.Module):
    """Dropout of what enters the first block."""

    dropout = 0.0  # see nn.dropout

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.dropout(x, self.dropout, self.training)


class DecoderBlock(nn.Module):
    """Self-attention, attention to the encoder's frames, feed-forward, each with a residual and a norm.

    memory_dim=0: no attention to frames, a block of a language model.
    """

    dropout = 0.0  # of what each branch adds; see nn.dropout

    def __init__(
        self, *, dim: int, ffn_dim: int, num_heads: int, memory_dim: int, norm_first: bool, eps: float = 1e-5,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm_first = norm_first
        self.attention = CausalAttention(dim, num_heads)
        self.attention_norm = nn.LayerNorm(dim, eps=eps)
        self.cross: CrossAttention | None = None
        if memory_dim:
            self.cross = CrossAttention(dim, num_heads, memory_dim)
            self.cross_norm = nn.LayerNorm(dim, eps=eps)
        self.ffn = FeedForward(dim, ffn_dim, activation)
        self.ffn_norm = nn.LayerNorm(dim, eps=eps)

    def forward(self, x: Tensor, frames: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x [B, T, C] to the same, given the encoder's frames [B, S, memory_dim] and a mask [B, 1, 1, S]."""
        memory = self.cross.remember(frames) if self.cross is not None and frames is not None else None
        return self._pass(x, self.attention, memory, mask)

    def step(self, x: Tensor, past: Past, place: int, owned: Tensor | None, memory: Memory | None,
             mask: Tensor | None) -> Tensor:  # fmt: skip
        """x [B, w, C] of w hypotheses' newest tokens to the same; `owned`: the mask of `CausalAttention.step`."""
        return self._pass(x, lambda y: self.attention.step(y, past, place, owned), memory, mask)

    def _pass(self, x: Tensor, attention: Callable[[Tensor], Tensor], memory: Memory | None, mask: Tensor | None
              ) -> Tensor:  # fmt: skip
        x = self._branch(x, attention, self.attention_norm)
        cross = self.cross
        if cross is not None and memory is not None:
            x = self._branch(x, lambda y: cross.look(y, memory, mask), self.cross_norm)
        return self._branch(x, self.ffn, self.ffn_norm)

    def _branch(self, x: Tensor, branch: Callable[[Tensor], Tensor], norm: nn.Module) -> Tensor:
        if self.norm_first:
            return x + F.dropout(branch(norm(x)), self.dropout, self.training)
        return norm(x + F.dropout(branch(x), self.dropout, self.training))
