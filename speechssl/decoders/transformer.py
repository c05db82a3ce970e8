"""An autoregressive transformer over an encoder's frames: characters, pieces or units, one after another.

arXiv:1706.03762; the shapes and defaults are those of speech-to-unit translation's decoder (arXiv:2107.05604) in
fairseq. Symbols are 0..V-1; one more, V, is both what a sequence starts from and what ends it (fairseq starts from its
end symbol, too), so that there is no third special symbol and no padding symbol; released models, which have some, keep
them as `silent` ones.

Stacks (arXiv:2107.05604, section 3.1; fairseq's StackedEmbedding and TransformerUnitDecoder): N symbols are read and
said in one step. Their embeddings, one behind another, become one by a linear map; from the one state of a step N
linear maps give the states of N symbols, which do not depend on one another. Tokens and scores are those of symbols,
one behind another, wherever they go in or out; only inside there are T / N steps. What starts a sequence is a whole
stack of `end`.

B utterances, S frames, T tokens, W hypotheses, C channels, V symbols, N symbols of a step.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError, DataError
from speechssl.nn.decoder_blocks import (
    CausalAttention,
    DecoderBlock,
    InputDropout,
    Memory,
    PackedFeedForward,
    Past,
    Places,
)
from speechssl.nn.lengths import valid_mask
from speechssl.nn.positional import sinusoids

LATER = {"silent": 0, "stack": 1}  # settings that came later; with these values hashes are what they were
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "swish": F.silu}


@dataclass(frozen=True)
class Config:
    """What decides shapes and maths. After each field: its name in fairseq's configs."""

    num_symbols: int  # V
    dim: int = 512  # decoder_embed_dim
    ffn_dim: int = 2048  # decoder_ffn_embed_dim
    num_layers: int = 6  # decoder_layers
    num_heads: int = 8  # decoder_attention_heads
    norm_first: bool = True  # decoder_normalize_before
    activation: Literal["relu", "gelu", "swish"] = "relu"  # activation_fn
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"  # decoder_learned_pos
    max_positions: int = 3000  # max_target_positions; steps
    first_position: int = 0  # number of the first token's place; 2 in fairseq, whose padding symbol is 1
    scale_embedding: bool = True  # not no_scale_embedding: embeddings times the root of dim
    tied: bool = True  # share_decoder_input_output_embed
    silent: int = 0  # symbols behind the end that take their share of probability, but are never said
    stack: int = 1  # N; n_frames_per_step

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.silent < 0 or not 1 <= self.stack <= 1000:
            raise ConfigError(f"a decoder needs silent >= 0 and stack in 1..1000, got {self.silent} and {self.stack}")
        sizes = (self.num_symbols, self.dim, self.ffn_dim, self.num_heads, self.max_positions)
        if min(sizes) < 1 or self.num_layers < 0 or self.dim % self.num_heads or self.first_position < 0:
            raise ConfigError(f"a decoder needs sizes >= 1 and dim a multiple of num_heads, got {self}")
        if self.positions == "sinusoidal" and (self.dim % 2 or self.dim < 4):
            raise ConfigError(f"sinusoidal positions need an even dim of at least 4, got {self.dim}")


@dataclass
class State:
    """A search between two steps: what was computed for utterances and hypotheses. Made by `Model.start`."""

    memories: list[Memory]  # of each block, with attention to frames
    mask: Tensor | None  # [B, 1, 1, S], True at real frames
    pasts: list[Past]
    places: Places
    ffns: list[Callable[[Tensor], Tensor]]  # of each block

    @property
    def length(self) -> int:
        """T: tokens that were read."""
        return self.places.length

    def follow(self, parents: Tensor) -> None:
        """Hypothesis i goes on from what was hypothesis parents[b, i]: [B, w] int64, w at most the width at `start`."""
        self.places.follow(parents)

    def keep(self, rows: Tensor) -> None:
        """Go on with the utterances [B'] alone."""
        self.memories = [memory.rows(rows) for memory in self.memories]
        self.mask = None if self.mask is None else self.mask.index_select(0, rows)
        for past in self.pasts:
            past.keep(rows)
        self.places.keep(rows)


class Model(nn.Module):
    """Tokens and frames to scores of the next token. memory_dim: channels of the frames; 0: a language model."""

    def __init__(self, config: Config, memory_dim: int) -> None:
        super().__init__()
        self.config, self.memory_dim = config, memory_dim
        self.end = config.num_symbols
        num_outputs = config.num_symbols + 1 + config.silent
        self.embedding = nn.Embedding(num_outputs, config.dim)
        nn.init.normal_(self.embedding.weight, 0, config.dim**-0.5)
        self.join: nn.Linear | None = None
        self.spread: nn.Linear | None = None
        if config.stack > 1:
            self.join = nn.Linear(config.stack * config.dim, config.dim, bias=False)
            self.spread = nn.Linear(config.dim, config.stack * config.dim, bias=False)
        self.places: nn.Embedding | None = None
        if config.positions == "learned":
            self.places = nn.Embedding(config.first_position + config.max_positions, config.dim)
            nn.init.normal_(self.places.weight, 0, config.dim**-0.5)
        self.drop = InputDropout()
        self.layers = nn.ModuleList(
            DecoderBlock(dim=config.dim, ffn_dim=config.ffn_dim, num_heads=config.num_heads, memory_dim=memory_dim,
                         norm_first=config.norm_first, activation=ACTIVATIONS[config.activation])
            for _ in range(config.num_layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(config.dim) if config.norm_first else nn.Identity()
        self.output: nn.Linear | None = None
        if not config.tied:
            self.output = nn.Linear(config.dim, num_outputs, bias=False)

    def forward(self, tokens: Tensor, frames: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Scores [B, T, V + 1] of the token N places after each of tokens [B, T], of which the first N are `end`.

        T is a multiple of N; `silent` columns are behind the V + 1. frames [B, S, memory_dim] with lengths [B] real
        ones. Padding of tokens comes last and is any symbol.
        """
        return self.scores(self.states(tokens, frames, lengths)[-1])

    def states(self, tokens: Tensor, frames: Tensor | None = None, lengths: Tensor | None = None) -> list[Tensor]:
        """What enters the first block and what each returns, each [B, T / N, C]; the last for `scores`."""
        mask, states = self._mask(frames, lengths), [self.drop(self.embed(tokens))]
        for layer in self.layers:
            states.append(layer(states[-1], frames, mask))
        return states

    def start(self, frames: Tensor | None, lengths: Tensor | None = None, *, width: int = 1, batch: int = 1) -> State:
        """The state before the first token: one hypothesis per utterance, of which `State.follow` makes up to `width`.

        batch: of utterances, where there are no frames.
        """
        batch = batch if frames is None else len(frames)
        memories = []
        if frames is not None:
            memories = [layer.cross.remember(frames) for layer in self.layers if layer.cross is not None]
        weight = self.embedding.weight
        pasts = [Past(batch, self.config.dim, like=weight) for _ in self.layers]
        ffns = [PackedFeedForward.of(layer.ffn) for layer in self.layers]
        return State(memories, self._mask(frames, lengths), pasts, Places(batch, width, weight.device), ffns)

    def step(self, tokens: Tensor, state: State) -> Tensor:
        """Scores [B, w, V + 1] after one more token [B, w] of each hypothesis. The state moves on.

        Of stacks: [B, w N, V + 1] after [B, w N], the N tokens of a hypothesis together.
        """
        places = state.places
        places.merge(state.pasts)
        place, rows, width = places.length, places.rows, places.width
        places.add(tokens.shape[1] // self.config.stack)
        owned, x = places.mask(), self.embed(tokens, place, one=True)
        for number, layer in enumerate(self.layers):
            past, memory = state.pasts[number], state.memories[number] if state.memories else None
            attend = partial(_step, past=past, rows=rows, width=width, mask=owned)
            x = layer.step(x, attend, memory, state.mask, state.ffns[number])
        return self.scores(x)

    def embed(self, tokens: Tensor, first: int = 0, *, one: bool = False) -> Tensor:
        """[B, T / N, C] of tokens [B, T] at places first, first + 1, ...; `one`: all at the place `first`."""
        config = self.config
        if tokens.shape[1] % config.stack:
            raise ValueError(f"{tokens.shape[1]} tokens are not whole stacks of {config.stack}")
        num_places = 1 if one else tokens.shape[1] // config.stack
        if first + num_places > config.max_positions:
            what = "tokens" if config.stack == 1 else f"stacks of {config.stack} tokens"
            raise DataError(f"{first + num_places} {what} are more than max_positions={config.max_positions}")
        x = F.embedding(tokens, self.embedding.weight)
        if self.join is not None:
            x = self.join(x.unflatten(1, (-1, config.stack)).flatten(2))
        x = x * math.sqrt(config.dim) if config.scale_embedding else x
        start = config.first_position + first
        if self.places is not None:
            return x + self.places.weight[start : start + num_places]
        return x + sinusoids(num_places, config.dim, start).to(x)

    def scores(self, x: Tensor) -> Tensor:
        """Scores [B, T, V + 1] for what the last block returned, [B, T / N, C]."""
        x = self.norm(x)
        if self.spread is not None:
            x = self.spread(x).unflatten(2, (self.config.stack, self.config.dim)).flatten(1, 2)
        return F.linear(x, self.embedding.weight if self.output is None else self.output.weight)

    def _mask(self, frames: Tensor | None, lengths: Tensor | None) -> Tensor | None:
        if (frames is None) != (self.memory_dim == 0):
            raise ValueError("frames are needed by a decoder with memory_dim, and by no other")
        if frames is None or lengths is None:
            return None
        valid = valid_mask(lengths.to(frames.device), frames.shape[1])
        # An utterance without one real frame would ask for a softmax over nothing: let it look at its padding.
        return None if bool(valid.all()) else (valid | ~valid.any(1, keepdim=True))[:, None, None]


def _step(attention: CausalAttention, x: Tensor, past: Past, rows: int, width: int, mask: Tensor | None) -> Tensor:
    return attention.step(x, past, rows, width, mask)


def shifted(targets: Tensor, end: int, stack: int = 1) -> Tensor:
    """What a decoder reads to predict targets [B, T]: a stack of `end`, then all stacks but the last."""
    return torch.cat([torch.full_like(targets[:, :stack], end), targets[:, :-stack]], 1)


def with_end(targets: Tensor, lengths: Tensor, end: int, stack: int = 1) -> tuple[Tensor, Tensor]:
    """targets [B, L] of lengths [B] with `end` behind each, and lengths + 1.

    The result is [B, T], T the least multiple of `stack` that is more than L; all padding is `end` too.
    """
    padded = F.pad(targets, (0, stack - targets.shape[1] % stack), value=end)
    places = torch.arange(padded.shape[1], device=padded.device)
    return padded.masked_fill(places >= lengths.unsqueeze(1), end), lengths + 1


def ended(targets: Tensor, end: int, stack: int = 1) -> tuple[Tensor, Tensor]:
    """`with_end` of targets [B, L] that have -1 behind their ends."""
    return with_end(targets.clamp_min(0), (targets >= 0).sum(1), end, stack)
