"""A recogniser of units: embeddings, an adaptor of transformer, conformer or zipformer blocks, scores of symbols.

Units or codec tokens are all it sees (Codec-ASR, arXiv:2407.03495; arXiv:2309.07377), on demand those of the utterances
before and after too (arXiv:2409.08797): all in one row through the same blocks, with a learned vector added to those of
each side, and only the utterance's own frames are scored. differs: there an encoder's states of neighbours are
joined to its input, here blocks with attention see all.

B utterances, T units, G streams, V symbols.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speechssl.data.context import Context
from speechssl.errors import ConfigError
from speechssl.nn.adaptor import Adaptor
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.unit_input import Augmentation, UnitInput


@dataclass(frozen=True)
class Config:
    """All of it."""

    sizes: tuple[int, ...]  # V of each stream of units
    num_symbols: int  # of what is written, blank included
    blank: int = 0
    embedding: int = 256  # channels
    adaptor: AdaptorConfig = field(
        default_factory=lambda: AdaptorConfig("conformer", dim=256, ffn_dim=1024, num_heads=4)
    )
    augmentation: Augmentation = field(default_factory=Augmentation)
    context: Context | None = None  # None: it sees nothing but the utterance

    def __post_init__(self) -> None:
        """Refuse what writes nothing."""
        if self.num_symbols < 2 or not 0 <= self.blank < self.num_symbols or self.embedding < 1:
            raise ConfigError(f"a recogniser of units needs num_symbols >= 2, a blank among them and an embedding, got "
                              f"{self.num_symbols}, {self.blank} and {self.embedding}")  # fmt: skip


class Model(nn.Module):
    """Units [B, T] or [B, T, G] to log probabilities [B, T', V]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.units = UnitInput(config.sizes, config.embedding, config.augmentation)
        self.adaptor = Adaptor(config.adaptor, config.embedding)
        self.output = nn.Linear(config.adaptor.dim, config.num_symbols)
        if config.context is not None:
            self.sides = nn.Parameter(torch.zeros(2, config.embedding))  # what is before, what is after

    @property
    def factor(self) -> int:
        """Units to a frame."""
        return math.prod(self.config.adaptor.strides)

    def states(
        self, units: Tensor, lengths: Tensor, seeds: Tensor | None = None, own: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The adaptor's output [B, T', D] and its counts [B]; seeds [B] decide what training changes.

        own [B, 2]: where the utterance itself begins in units (at a multiple of `factor`), and how many it has; the
        output is of these. None: of all.
        """
        x = self.units(units, lengths, seeds)
        if own is None:
            return self.adaptor(x, lengths)
        if self.config.context is None:
            raise ConfigError("this recogniser was not trained with a context: give the utterance alone")
        first, end = own[:, :1], own.sum(1, keepdim=True)
        position = torch.arange(x.shape[1], device=x.device)
        x = x + (position < first).unsqueeze(2) * self.sides[0] + (position >= end).unsqueeze(2) * self.sides[1]
        states, _ = self.adaptor(x, lengths)
        counts = -(-own[:, 1] // self.factor)
        frame = torch.arange(int(counts.max()) if len(counts) else 0, device=x.device)
        valid = frame < counts.unsqueeze(1)
        at = (first // self.factor + frame).masked_fill(~valid, 0)
        found = states.gather(1, at.unsqueeze(2).expand(-1, -1, states.shape[2]))
        return found.masked_fill(~valid.unsqueeze(2), 0), counts

    def forward(
        self, units: Tensor, lengths: Tensor, seeds: Tensor | None = None, own: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log probabilities and counts [B]."""
        states, counts = self.states(units, lengths, seeds, own)
        return self.log_probs(states), counts

    def log_probs(self, states: Tensor) -> Tensor:
        """Of what `states` gave; float32."""
        return self.output(states).float().log_softmax(-1)
