"""A language model of units: each unit and the end from those before. Pre-trains a decoder of units.

What fairseq calls a unit language model (arXiv:2102.01192, section 3.3), over units of one or more languages, with the
decoder of speech-to-unit and text-to-unit models (`decoders.transformer`): what it lacks is attention to an encoder's
frames, which those begin afresh. Nothing tells it the language but the units.

Units come as `data.labels`; no audio is read. B utterances, T units, V units.
"""

from dataclasses import dataclass, field

from torch import nn

from speechssl.data.batch import Batch
from speechssl.decoders import transformer
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.decoders.transformer import ended, shifted
from speechssl.errors import ConfigError
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.lengths import valid_mask
from speechssl.objectives import Outcome
from speechssl.objectives._units import cross_entropy, nothing, units_of


@dataclass(frozen=True)
class Config:
    """The decoder's shape is what the next training takes over."""

    num_labels: int  # V, taken from the units
    decoder: DecoderShape = field(default_factory=DecoderShape)
    dropout: Dropout = field(default_factory=lambda: Dropout(layer=0.0))

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.decoder.stack != 1:
            raise ConfigError(f"decoder.stack={self.decoder.stack}: a language model says one unit in a step")


class Objective(nn.Module):
    """Cross entropy of all units; the count is that of units and ends."""

    def __init__(self, encoder: nn.Module, config: Config) -> None:
        super().__init__()
        self.encoder, self.config = encoder.requires_grad_(False), config
        self.decoder = transformer.Model(config.decoder.config(config.num_labels), 0)
        set_dropout(self, config.dropout)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over all utterances that have a unit."""
        labels = units_of(batch)
        units = labels[(labels >= 0).any(1)]
        if not len(units):
            return nothing(self)
        wanted, sizes = ended(units, self.decoder.end)
        valid = valid_mask(sizes, wanted.shape[1])
        states = self.decoder.states(shifted(wanted, self.decoder.end))[-1][valid]
        return cross_entropy(self.decoder.scores(states), wanted[valid], states.detach())

    def after_step(self, step: int) -> None:
        """Nothing to do."""
