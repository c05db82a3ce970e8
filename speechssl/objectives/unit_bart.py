"""Unit BART: units with spans taken out go in, all units come out. Pre-trains the decoder of speech-to-unit translation
(arXiv:2204.02967, which calls it unit mBART; mBART: arXiv:2001.08210), over units of one or more languages.

Units come as `data.labels`, the language as `data.groups`; no audio is read. The encoder sees units, masks and at the
end the tag of the language; the decoder begins with its end symbol, as that of `objectives.seq2seq` does, whose decoder
it becomes, so that nothing has to be changed in it.
differs: mBART's decoder begins with the tag; here it finds it among what it attends to. Encoder and decoder have
embeddings of their own, and there is a linear map between the encoder's embeddings and its blocks.

B utterances, T units, C channels, V units.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.decoders import transformer
from speechssl.decoders.seq2seq import DecoderShape
from speechssl.decoders.transformer import shifted, with_end
from speechssl.errors import ConfigError, DataError
from speechssl.nn.adaptor import Adaptor
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.infilling import MASK, Infilling, infilled
from speechssl.nn.label_smoothing import smoothed_loss
from speechssl.nn.lengths import valid_mask
from speechssl.nn.unit_input import Augmentation, UnitInput
from speechssl.objectives import Outcome


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
        if self.num_labels < 1 or self.num_languages < 1:
            raise ConfigError(f"unit_bart needs num_labels and num_languages >= 1, got {self}")
        if self.adaptor.strides or self.adaptor.kind == "zipformer":
            raise ConfigError("unit_bart's encoder sees every unit and a tag behind them: set adaptor.strides=[], and "
                              "a kind that is not zipformer")  # fmt: skip


class Objective(nn.Module):
    """Cross entropy of all units; the count is that of units and ends."""

    def __init__(self, encoder: nn.Module, config: Config) -> None:
        super().__init__()
        self.encoder, self.config = encoder.requires_grad_(False), config
        if config.decoder.stack != 1:
            raise ConfigError(f"decoder.stack={config.decoder.stack}: unit_bart says one unit in a step")
        dim = config.adaptor.dim
        self.units = UnitInput((config.num_labels,), dim, Augmentation())
        self.tags = nn.Embedding(config.num_languages, dim)
        self.adaptor = Adaptor(config.adaptor, dim)
        self.decoder = transformer.Model(config.decoder.config(config.num_labels), dim)
        set_dropout(self, config.dropout)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over all utterances that have a unit; the noise is that of their seeds, in validation too."""
        if batch.labels is None:
            raise DataError("unit_bart needs units (labels) in its batches")
        labels = batch.labels if batch.labels.ndim == 2 else batch.labels.squeeze(2)  # one stream
        lengths = (labels >= 0).sum(1)
        rows = lengths.nonzero().squeeze(1)
        if not len(rows):
            nothing = sum((p.sum() * 0.0 for p in self.parameters() if p.requires_grad), torch.zeros(()))
            return Outcome(nothing, 0, {}, self.tags.weight.detach()[:0])
        units, lengths = labels[rows], lengths[rows]
        noised, counts = infilled(units, lengths, self.config.noise, batch.seeds[rows.cpu()])
        states, counts = self.encode(noised, counts, self._languages(batch)[rows])
        wanted, sizes = with_end(units.clamp_min(0), lengths, self.decoder.end)
        valid = valid_mask(sizes, wanted.shape[1])
        logits = self.decoder(shifted(wanted, self.decoder.end), states, counts)[valid]
        loss, count, codes = smoothed_loss(logits, wanted[valid]), int(valid.sum()), logits.detach().argmax(-1)
        scalars: dict[str, Tensor | float] = {
            "nll": loss.detach() / count,
            "accuracy": (codes == wanted[valid]).sum() / count,
            "taken_out": 1 - (noised != MASK).sum() / lengths.sum(),
        }
        return Outcome(loss, count, scalars, states[valid_mask(counts, states.shape[1])].detach(), codes)

    def encode(self, noised: Tensor, lengths: Tensor, languages: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder looks at, [B, T + 1, C], and its counts [B], of units and masks [B, T], tags of [B]."""
        x = F.pad(self.units(noised, lengths), (0, 0, 0, 1))
        behind = (torch.arange(x.shape[1], device=x.device) == lengths.unsqueeze(1)).unsqueeze(2)
        return self.adaptor(torch.where(behind, self.tags(languages).unsqueeze(1), x), lengths + 1)

    def _languages(self, batch: Batch) -> Tensor:
        if self.config.num_languages == 1:
            return torch.zeros_like(batch.lengths)
        if batch.groups is None:
            raise DataError(f"unit_bart of {self.config.num_languages} languages needs each utterance's (groups)")
        return batch.groups

    def after_step(self, step: int) -> None:
        """Nothing to do."""
