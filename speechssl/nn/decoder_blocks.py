"""Blocks that produce a sequence one token after another and look at an encoder's frames (arXiv:1706.03762).

Two ways through the same weights: `forward` over whole sequences, for training, and `step`, one token of each of W
hypotheses per utterance, for search. What was seen is kept in a `Past` and not moved when hypotheses change places:
hypothesis w writes its token to slot w of that token, and `Places` says in whose slots each finds its past. All W
hypotheses of an utterance share the keys and values of the frames, which are computed once.

B utterances, S frames (of the encoder), T tokens, W hypotheses, C channels, H heads. `valid` [B, S] is True at real
frames.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.attention import Attention, merge_heads, split_heads
from speechssl.nn.fast import linear
from speechssl.nn.transformer import FeedForward

_TAIL = 16  # tokens of which every hypothesis has its own slots, before it is looked whether it must be so
_OFTEN = 8  # tokens from one look to the next, and the least that one saves


@dataclass(frozen=True)
class Memory:
    """Keys and values [B, H, S, C / H] of the encoder's frames in one block."""

    keys: Tensor
    values: Tensor

    def rows(self, index: Tensor) -> "Memory":
        """Of the utterances [B'] alone."""
        return Memory(self.keys.index_select(0, index), self.values.index_select(0, index))


class Past:
    """Keys and values of one block's own tokens, in rows [B, R, C] each; `Places` says whose they are."""

    def __init__(self, batch: int, dim: int, *, like: Tensor, rows: int = 64) -> None:
        self.keys = like.new_zeros(batch, rows, dim)  # zeros: what is masked must not be NaN
        self.values = torch.zeros_like(self.keys)

    def write(self, first: int, keys: Tensor, values: Tensor, width: int) -> None:
        """keys, values [B, w, C] from row `first` on, where there will be room for `width` rows."""
        if self.keys.shape[1] < first + width:
            more = max(self.keys.shape[1], width)
            self.keys, self.values = (F.pad(x, (0, 0, 0, more)) for x in (self.keys, self.values))
        self.keys[:, first : first + keys.shape[1]] = keys
        self.values[:, first : first + values.shape[1]] = values

    def upto(self, rows: int, num_heads: int) -> tuple[Tensor, Tensor]:
        """[B, H, rows, C / H] each, views."""
        return split_heads(self.keys[:, :rows], num_heads), split_heads(self.values[:, :rows], num_heads)

    def pick(self, first: int, index: Tensor) -> None:
        """What is in rows index [B, R'] comes to row `first` and those behind it."""
        places = index.unsqueeze(-1).expand(-1, -1, self.keys.shape[2])
        for x in (self.keys, self.values):
            x[:, first : first + index.shape[1]] = x.gather(1, places)

    def keep(self, index: Tensor) -> None:
        """The utterances [B'] alone."""
        self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)


class Places:
    """Where hypotheses find their pasts: the first `shared` rows are everybody's, then come W slots for each token."""

    def __init__(self, batch: int, width: int, device: torch.device) -> None:
        self.width, self.shared = width, 0
        self.owners = torch.zeros(batch, 1, 0, dtype=torch.int64, device=device)  # [B, w, T - shared]: slots

    @property
    def length(self) -> int:
        """T: tokens that were read."""
        return self.shared + self.owners.shape[2]

    @property
    def rows(self) -> int:
        """Rows in use, where the next token's begin."""
        return self.shared + self.owners.shape[2] * self.width

    def follow(self, parents: Tensor) -> None:
        """Hypothesis i goes on from what was parents[b, i], [B, w] int64."""
        self.owners = self.owners.gather(1, parents.unsqueeze(-1).expand(-1, -1, self.owners.shape[2]))

    def keep(self, index: Tensor) -> None:
        """The utterances [B'] alone."""
        self.owners = self.owners.index_select(0, index)

    def add(self, width: int) -> None:
        """One more token, of `width` hypotheses in the first slots."""
        own = torch.arange(width, device=self.owners.device).expand(len(self.owners), -1).unsqueeze(-1)
        self.owners = torch.cat([self.owners, own], 2)

    def mask(self) -> Tensor | None:
        """[B, 1, w, rows], True at a hypothesis' own past; None where all rows are."""
        if self.width == 1:
            return None
        slots = torch.arange(self.width, device=self.owners.device)
        owned = (self.owners.unsqueeze(-1) == slots).flatten(2)
        return F.pad(owned, (self.shared, 0), value=True).unsqueeze(1)

    def merge(self, pasts: list[Past]) -> None:
        """Where all hypotheses have come to share the beginning of their tails, keep one row of it for each token.

        Hypotheses of an utterance descend from one of a few tokens ago: rows are then few more than tokens. Looked at
        when tails have grown long, done where it saves much: every row moves seldom.
        """
        tail = self.owners.shape[2]
        if self.width == 1 or tail < _TAIL or tail % _OFTEN:
            return
        same = (self.owners == self.owners[:, :1]).flatten(0, 1).all(0)
        common = int(same.long().cumprod(0).sum())
        if common < _OFTEN:
            return
        tokens = torch.arange(common, device=self.owners.device)
        ours = self.shared + tokens * self.width + self.owners[:, 0, :common]
        rest = torch.arange(self.shared + common * self.width, self.rows, device=self.owners.device)
        index = torch.cat([ours, rest.expand(len(ours), -1)], 1)
        for past in pasts:
            past.pick(self.shared, index)
        self.shared += common
        self.owners = self.owners[:, :, common:]


class CausalAttention(Attention):
    """Self-attention in which token t sees tokens 0..t."""

    def forward(self, x: Tensor, keys: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same. Padding comes last, where no real token looks: `keys` and `positions` are not used."""
        query, key, value = (split_heads(layer(x), self.num_heads) for layer in (self.query, self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        return self.out(merge_heads(F.scaled_dot_product_attention(query, key, value, is_causal=True,
                                                                   dropout_p=dropout)))  # fmt: skip

    def step(self, x: Tensor, past: Past, rows: int, width: int, mask: Tensor | None) -> Tensor:
        """[B, w, C], the newest token of w hypotheses, to the same.

        Its keys go behind `rows` others, where there are `width` slots; mask [B, 1, w, rows + width] is `Places.mask`.
        """
        past.write(rows, self.key(x), self.value(x), width)
        keys, values = past.upto(rows + width, self.num_heads)
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


class PackedFeedForward:
    """A feed-forward network for a search on the CPU: packed weights are up to twice as fast on the few rows of a step.

    tools/bench/generation.py shows what it gains. `of` gives the network itself where there is nothing to gain.
    """

    def __init__(self, network: FeedForward) -> None:
        self._up = linear.PackedLinear(network.up.weight, network.up.bias)
        self._down = linear.PackedLinear(network.down.weight, network.down.bias)
        self._activation = network.activation

    def __call__(self, x: Tensor) -> Tensor:
        """[B, w, C] to the same."""
        return self._down(self._activation(self._up(x.flatten(0, 1)))).view_as(x)

    @classmethod
    def of(cls, network: FeedForward) -> Callable[[Tensor], Tensor]:
        """Of a network that is used for inference; of another, itself."""
        weight = network.up.weight
        plain = weight.device.type != "cpu" or weight.dtype != torch.float32 or torch.is_grad_enabled()
        plain = plain or network.training or torch.is_autocast_enabled("cpu")  # what comes in may be bfloat16
        return network if plain or not linear.available() else cls(network)


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
        return self._pass(x, self.attention, memory, mask, self.ffn)

    def step(
        self, x: Tensor, attention: Callable[[CausalAttention, Tensor], Tensor], memory: Memory | None,
        mask: Tensor | None, ffn: Callable[[Tensor], Tensor],
    ) -> Tensor:  # fmt: skip
        """x [B, w, C] of w hypotheses' newest tokens to the same.

        attention: `CausalAttention.step` with all it needs; ffn: the block's own, or what `PackedFeedForward.of` gives.
        """
        return self._pass(x, lambda y: attention(self.attention, y), memory, mask, ffn)

    def _pass(self, x: Tensor, attention: Callable[[Tensor], Tensor], memory: Memory | None, mask: Tensor | None,
              ffn: Callable[[Tensor], Tensor]) -> Tensor:  # fmt: skip
        x = self._branch(x, attention, self.attention_norm)
        cross = self.cross
        if cross is not None and memory is not None:
            x = self._branch(x, lambda y: cross.look(y, memory, mask), self.cross_norm)
        return self._branch(x, ffn, self.ffn_norm)

    def _branch(self, x: Tensor, branch: Callable[[Tensor], Tensor], norm: nn.Module) -> Tensor:
        if self.norm_first:
            return x + F.dropout(branch(norm(x)), self.dropout, self.training)
        return norm(x + F.dropout(branch(x), self.dropout, self.training))
