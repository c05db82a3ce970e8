"""Units in, units out: an encoder over units, a tag that says in which language, and a decoder of units.

What a unit BART (arXiv:2204.02967) learns to restore with, and textless translation (arXiv:2305.15405) to translate
with. The tag stands behind the units that the encoder sees; the decoder begins with its end symbol, as that of
`decoders.seq2seq` does, so that it can become that one's.
differs: mBART's decoder begins with the tag; here it finds it among what it attends to. Encoder and decoder have
embeddings of their own, and there is a linear map between the encoder's embeddings and its blocks.

B utterances, T units, L units of a target, C channels, V units.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.decoders import transformer
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.decoders.transformer import shifted, with_end
from speechssl.errors import ConfigError
from speechssl.nn.adaptor import Adaptor
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.lengths import valid_mask
from speechssl.nn.unit_input import Augmentation, UnitInput


@dataclass(frozen=True)
class Config:
    """What decides shapes and maths; the encoder's blocks are `adaptor`."""

    num_units: int  # V
    num_languages: int = 1  # tags
    adaptor: AdaptorConfig = field(default_factory=lambda: AdaptorConfig(strides=()))
    decoder: DecoderShape = field(default_factory=DecoderShape)

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.num_units < 1 or self.num_languages < 1:
            raise ConfigError(f"a model of units needs num_units and num_languages >= 1, got {self}")
        if self.decoder.stack != 1:
            raise ConfigError(f"decoder.stack={self.decoder.stack}: a model of units says one unit in a step")
        if self.adaptor.strides or self.adaptor.kind == "zipformer":
            raise ConfigError("an encoder of units sees every unit and a tag behind them: set adaptor.strides=[], and "
                              "a kind that is not zipformer")  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """What the model says of a batch in training, over its N units and ends."""

    logits: Tensor  # [N, V + 1]
    wanted: Tensor  # [N] int64, V is the end
    states: Tensor  # [B, T + 1, C] what the decoder looked at
    counts: Tensor  # [B] of those

    @property
    def shown(self) -> Tensor:
        """All real frames of `states`, detached."""
        return self.states[valid_mask(self.counts, self.states.shape[1])].detach()


class Model(nn.Module):
    """Units of one stream to units."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        dim = config.adaptor.dim
        self.units = UnitInput((config.num_units,), dim, Augmentation())
        self.tags = nn.Embedding(config.num_languages, dim)
        self.adaptor = Adaptor(config.adaptor, dim)
        self.decoder = transformer.Model(config.decoder.config(config.num_units), dim)

    def encode(self, units: Tensor, lengths: Tensor, languages: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder looks at, [B, T + 1, C], and its counts [B], of units [B, T] (-1: a mask), tags of [B]."""
        x = F.pad(self.units(units, lengths), (0, 0, 0, 1))
        behind = (torch.arange(x.shape[1], device=x.device) == lengths.unsqueeze(1)).unsqueeze(2)
        return self.adaptor(torch.where(behind, self.tags(languages).unsqueeze(1), x), lengths + 1)

    def forward(self, units: Tensor, lengths: Tensor, languages: Tensor, targets: Tensor) -> Scores:
        """Scores of targets [B, L], -1 behind their ends, of which the decoder reads the true units."""
        states, counts = self.encode(units, lengths, languages)
        wanted, sizes = with_end(targets.clamp_min(0), (targets >= 0).sum(1), self.decoder.end)
        valid = valid_mask(sizes, wanted.shape[1])
        logits = self.decoder(shifted(wanted, self.decoder.end), states, counts)[valid]
        return Scores(logits, wanted[valid], states, counts)
