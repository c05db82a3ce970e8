"""Units of one language to units of another, in all directions, with pairs and without: textless translation.

Pairs (arXiv:2305.15405, its second step): source units go in, the tag of the wanted language behind them, target units
come out. Speech without a translation (its third step, unsupervised back-translation, after arXiv:1711.00043 and
arXiv:1804.07755): the model, as it is and without gradients, translates real units into another language, then learns
to restore the real ones from what it made.

Units come as `data.labels`, targets as `data.targets`, none for utterances without a translation; `data.groups` is the
language of what is to be said: of the targets, or of the units themselves where they have none. No audio is read.
What was made empty, or did not end within its bound, is left out and counted.

B utterances, T units, L units of a target, V units.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechssl.data.batch import Batch
from speechssl.decoders import unit_seq2seq
from speechssl.decoders.sampling import Sampling, sample
from speechssl.decoders.search import Hypothesis, Search
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.decoders.token_scorers import decode
from speechssl.errors import ConfigError
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.objectives import Outcome
from speechssl.objectives._units import cross_entropy, languages_of, nothing, units_of


@dataclass(frozen=True)
class Back:
    """How back-translation makes its inputs."""

    how: Literal["sample", "search"] = "sample"
    sampling: Sampling = field(default_factory=Sampling)
    beam: int = 1  # of a search; 1: greedy
    max_per_unit: float = 1.5  # bound of what is made: so many for each real unit ...
    max_more: int = 10  # ... and so many more, the end counted

    def __post_init__(self) -> None:
        """Refuse what makes nothing, and settings without effect."""
        if self.beam < 1 or self.max_per_unit < 0 or self.max_more < 1:
            raise ConfigError(f"back-translation needs beam >= 1, max_per_unit >= 0, max_more >= 1, got {self}")
        if (self.how == "sample" and self.beam != 1) or (self.how == "search" and self.sampling != Sampling()):
            raise ConfigError(f"beam belongs to how='search', sampling to how='sample', got {self}")

    def longest(self, places: int) -> int:
        """Units of which a decoder of so many places can make a translation."""
        return max(0, int((places - self.max_more) / self.max_per_unit) - 1) if self.max_per_unit else places


@dataclass(frozen=True)
class Config:
    """Shapes as in `objectives.unit_bart`, with which it can begin."""

    num_labels: int  # V, taken from the units
    num_languages: int = 2  # tags
    adaptor: AdaptorConfig = field(default_factory=lambda: AdaptorConfig(strides=()))
    decoder: DecoderShape = field(default_factory=DecoderShape)
    dropout: Dropout = field(default_factory=lambda: Dropout(layer=0.0))
    smoothing: float = 0.1  # of labels
    back: Back | None = None  # for utterances without a translation, which count nothing otherwise

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.num_languages < 2 or not 0 <= self.smoothing < 1:
            raise ConfigError(f"translation needs two languages and smoothing in 0..1 without 1, got {self}")
        _ = self.model

    @property
    def model(self) -> unit_seq2seq.Config:
        """What learns."""
        return unit_seq2seq.Config(self.num_labels, self.num_languages, self.adaptor, self.decoder)


class Objective(nn.Module):
    """Cross entropy with label smoothing of all target units and ends, which are counted."""

    def __init__(self, encoder: nn.Module, config: Config) -> None:
        super().__init__()
        self.encoder, self.config = encoder.requires_grad_(False), config
        self.model = unit_seq2seq.Model(config.model)
        self.model.units.mask.requires_grad_(False)  # nothing is masked here
        set_dropout(self, config.dropout)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over pairs, and over what was translated back."""
        units, languages = units_of(batch), languages_of(batch, self.config.num_languages)
        lengths, targets = (units >= 0).sum(1), batch.targets
        paired = torch.zeros_like(lengths, dtype=torch.bool) if targets is None else (targets >= 0).any(1)
        rows = (paired & (lengths > 0)).nonzero().flatten()
        inputs = [units[row, : lengths[row]] for row in rows.tolist()]
        wanted = [] if targets is None else [targets[row] for row in rows.tolist()]
        tallies: dict[str, int] = {}
        back = 0
        if self.config.back is not None:
            alone = (~paired & (lengths > 0)).nonzero().flatten()
            made = self.translated_back(units[alone], lengths[alone], languages[alone], batch.seeds[alone.cpu()])
            usable = torch.tensor([bool(one.tokens) and one.ended for one in made], dtype=torch.bool)
            kept = alone[usable.to(alone.device)]
            inputs += [torch.tensor(one.tokens, device=units.device) for one in made if one.tokens and one.ended]
            wanted += [units[row] for row in kept.tolist()]
            back, rows = int((lengths[kept] + 1).sum()), torch.cat([rows, kept])
            tallies = {"made": len(made), "made_units": sum(len(one.tokens) for one in made),
                       "empty": sum(not one.tokens for one in made),
                       "runaway": sum(bool(one.tokens) and not one.ended for one in made)}  # fmt: skip
        if not inputs:
            return nothing(self, tallies)
        counts = torch.tensor([len(row) for row in inputs], device=units.device)
        scores = self.model(_padded(inputs), counts, languages[rows], _padded(wanted))
        more = {"back": back / len(scores.wanted)}  # the share of items restored from what was made
        return cross_entropy(scores.logits, scores.wanted, scores.shown, smoothing=self.config.smoothing, more=more,
                             tallies=tallies)  # fmt: skip

    @torch.inference_mode()
    def translated_back(
        self, units: Tensor, lengths: Tensor, languages: Tensor, seeds: Tensor
    ) -> list[Hypothesis]:  # fmt: skip
        """What the model makes in another language of units [B, T] that are in languages [B]; without dropout.

        Of more than two languages the other one is drawn by the seed.
        """
        back = self.config.back
        assert back is not None
        if not len(units):
            return []
        more = 1 + seeds.to(languages.device) % (self.config.num_languages - 1)
        others = (languages + more) % self.config.num_languages
        kind, training = units.device.type, self.model.training
        self.model.eval()
        # What autocast keeps of the weights must not come from here, where they have no gradients.
        with torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cache_enabled=False):
            states, counts = self.model.encode(units, lengths, others)
            if back.how == "sample":
                limits = (back.max_more + back.max_per_unit * counts.double()).floor().long()
                found = sample(self.model.decoder, states, counts, limits, seeds.tolist(), back.sampling)
            else:
                search = Search(beam=back.beam, max_tokens=back.max_more, max_per_frame=back.max_per_unit)
                ranked = decode(self.model.decoder, states, counts, search)
                found = [best[0] if best else Hypothesis((), 0.0, 0.0, False) for best in ranked]
        self.model.train(training)
        return found

    def after_step(self, step: int) -> None:
        """Nothing to do."""


def _padded(rows: list[Tensor]) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=-1)
