"""Unit BART: units with spans taken out go in, all units come out. Pre-trains the decoder of speech-to-unit translation
(arXiv:2204.02967, which calls it unit mBART; mBART: arXiv:2001.08210), over units of one or more languages.

Units come as `data.labels`, the language as `data.groups`; no audio is read. The model is that of
`decoders.unit_seq2seq`: the encoder sees units, masks and at the end the tag of the language.

B utterances, T units, C channels, V units.
"""

from dataclasses import dataclass, field

from torch import nn

from speechssl.data.batch import Batch
from speechssl.decoders import unit_seq2seq
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.infilling import MASK, Infilling, infilled
from speechssl.objectives import Outcome
from speechssl.objectives._units import cross_entropy, languages_of, nothing, units_of


@dataclass(frozen=True)
class Config:
    """mBART's noise; the encoder's blocks are `adaptor`."""

    num_labels: int  # V, taken from the units
    num_languages: int = 1  # tags, taken from the data
    noise: Infilling = field(default_factory=Infilling)
    adaptor: AdaptorConfig = field(default_factory=lambda: AdaptorConfig(strides=()))
    decoder: DecoderShape = field(default_factory=DecoderShape)
    dropout: Dropout = field(default_factory=lambda: Dropout(layer=0.0))

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        _ = self.model

    @property
    def model(self) -> unit_seq2seq.Config:
        """What learns."""
        return unit_seq2seq.Config(self.num_labels, self.num_languages, self.adaptor, self.decoder)


class Objective(nn.Module):
    """Cross entropy of all units; the count is that of units and ends."""

    def __init__(self, encoder: nn.Module, config: Config) -> None:
        super().__init__()
        self.encoder, self.config = encoder.requires_grad_(False), config
        self.model = unit_seq2seq.Model(config.model)
        set_dropout(self, config.dropout)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over all utterances that have a unit; the noise is that of their seeds, in validation too."""
        labels = units_of(batch)
        lengths = (labels >= 0).sum(1)
        rows = lengths.nonzero().squeeze(1)
        if not len(rows):
            return nothing(self)
        units, lengths = labels[rows], lengths[rows]
        noised, counts = infilled(units, lengths, self.config.noise, batch.seeds[rows.cpu()])
        scores = self.model(noised, counts, languages_of(batch, self.config.num_languages)[rows], units)
        more = {"taken_out": 1 - (noised != MASK).sum() / lengths.sum()}
        return cross_entropy(scores.logits, scores.wanted, scores.shown, more=more)

    def after_step(self, step: int) -> None:
        """Nothing to do."""
