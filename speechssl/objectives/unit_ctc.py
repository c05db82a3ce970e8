"""Recognition of discrete units (arXiv:2309.07377, arXiv:2407.03495): CTC (Graves et al. 2006) over nothing but units.

Units come as `data.labels`; an encoder of audio plays no part and is not trained. What is learned is this objective's
own, kept in the run's checkpoints; `recipes.unit_asr` makes a recogniser of it.

B utterances, T units, G streams, V symbols.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.data.context import Context
from speechssl.decoders import unit_ctc
from speechssl.decoders.collapse import best_path
from speechssl.errors import ConfigError, DataError
from speechssl.nn.adaptor import Config as AdaptorConfig
from speechssl.nn.ctc_loss import ctc_losses
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.lengths import valid_mask
from speechssl.nn.unit_input import Augmentation
from speechssl.objectives import Outcome
from speechssl.objectives._fine_tuning import token_errors


@dataclass(frozen=True)
class Config:
    """A conformer over 20 ms units."""

    num_labels: int  # V of the units, taken from them
    num_symbols: int  # of what is written, blank included
    blank: int = 0
    more_streams: tuple[int, ...] = ()  # V of streams beside the first
    embedding: int = 256
    adaptor: AdaptorConfig = field(
        default_factory=lambda: AdaptorConfig("conformer", dim=256, ffn_dim=1024, num_heads=4)
    )
    augmentation: Augmentation = field(default_factory=Augmentation)
    dropout: Dropout = field(default_factory=lambda: Dropout(layer=0.0))
    context: Context | None = None  # of neighbours' units in batches; the loss is over the utterance itself alone

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.num_labels < 1 or min(self.more_streams, default=1) < 1:
            raise ConfigError(f"units of {(self.num_labels, *self.more_streams)} kinds")

    @property
    def model(self) -> unit_ctc.Config:
        """What is trained."""
        return unit_ctc.Config((self.num_labels, *self.more_streams), self.num_symbols, self.blank, self.embedding,
                               self.adaptor, self.augmentation, self.context)  # fmt: skip


class Objective(nn.Module):
    """CTC from units; the count is that of the targets' symbols."""

    def __init__(self, encoder: nn.Module, config: Config) -> None:
        super().__init__()
        self.encoder, self.config = encoder.requires_grad_(False), config
        self.model = unit_ctc.Model(config.model)
        set_dropout(self.model, config.dropout)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over utterances that have a path; counts their symbols."""
        units, targets = batch.labels, batch.targets
        if units is None or targets is None:
            raise DataError("unit_ctc needs units (labels) and texts (targets) in its batches")
        lengths = lengths_of(units)
        states, counts = self.model.states(units, lengths, batch.seeds, batch.own)
        log_probs = self.model.log_probs(states)
        losses, possible = ctc_losses(log_probs, counts, targets, blank=self.config.blank)
        symbols = int(((targets >= 0).sum(1) * possible).sum())
        scalars: dict[str, Tensor | float] = {"no_path": (~possible).sum() / len(possible)}
        if not self.training:
            written = best_path(log_probs[possible].detach(), counts[possible], self.config.blank)
            scalars["token_error_rate"] = token_errors(written, targets[possible]) / max(1, symbols)
        shown = states[valid_mask(counts, states.shape[1])].detach()
        return Outcome(losses.sum() + 0.0 * states.sum().float(), symbols, scalars, shown)

    def after_step(self, step: int) -> None:
        """Nothing to do."""


def lengths_of(units: Tensor) -> Tensor:
    """Units of each utterance, [B], of units [B, T] or [B, T, G] with -1 behind their ends."""
    return (units.view(*units.shape[:2], -1)[..., 0] >= 0).sum(1)
