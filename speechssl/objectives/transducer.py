"""A transducer (RNN-T, arXiv:1211.3711): an encoder is fine-tuned to write, each symbol seeing those before it.

The encoder, its head, masking and freezing are those of objectives.ctc; behind them stands decoders.transducer. With
`ctc_weight` CTC on the head's output is added as an auxiliary loss, of its own linear map that recognition leaves out.
In validation nothing is masked, and greedy decoding gives the token error rate.

The joiner's scores of all frames and symbols, B x T x (L + 1) x V, are what takes memory.

B utterances, T frames, L symbols of a target, J channels of the joiner, V symbols.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.decoders.transducer import Shape, Transducer, greedy
from speechssl.errors import ConfigError
from speechssl.nn.ctc_loss import ctc_losses
from speechssl.nn.frame_head import Head
from speechssl.nn.lengths import valid_mask
from speechssl.nn.masked import Masking
from speechssl.nn.masking import SpanMask
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.nn.transducer_loss import transducer_losses
from speechssl.objectives import Outcome
from speechssl.objectives._fine_tuning import FineTuning, targets_of, token_errors


@dataclass(frozen=True)
class Config:
    """See objectives.ctc for what both have."""

    num_symbols: int  # V, blank included
    blank: int = 0
    head: Head = field(default_factory=Head)  # its output is what the joiner sees
    shape: Shape = field(default_factory=Shape)
    masking: Masking = field(
        default_factory=lambda: Masking(
            channels=SpanMask(share=0.5, span=64, min_spans=0), gradient=0.0, dropout=0.0, features_dropout=0.0
        )
    )
    freeze_updates: int = 0
    ctc_weight: float = 0.0  # of the auxiliary loss
    ctc_start: int = 0  # updates in which it is the only one: over frames that say nothing a transducer stays mute

    def __post_init__(self) -> None:
        """Refuse what writes nothing."""
        if self.num_symbols < 2 or not 0 <= self.blank < self.num_symbols or self.freeze_updates < 0:
            raise ConfigError(
                f"transducer needs num_symbols >= 2, a blank among them and freeze_updates >= 0, got {self}"
            )
        if self.ctc_weight < 0:
            raise ConfigError(f"ctc_weight={self.ctc_weight} must be >= 0; 0 leaves the auxiliary loss out")
        if self.ctc_start < 0 or (self.ctc_start and not self.ctc_weight):
            raise ConfigError(f"ctc_start={self.ctc_start} must be >= 0, and 0 where ctc_weight is {self.ctc_weight}")


class Objective(FineTuning):
    """Fine-tuning with a transducer."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__(encoder, config.head, config.shape.joint, masking=config.masking,
                         freeze_updates=config.freeze_updates)  # fmt: skip
        self.config = config
        self.transducer = Transducer(config.shape, config.num_symbols, config.blank)
        self.ctc = nn.Linear(config.shape.joint, config.num_symbols) if config.ctc_weight else None

    @property
    def skips_parameters(self) -> bool:
        """Whether some trained parameters get no gradient in some updates."""
        return super().skips_parameters or self.config.ctc_start > 0

    def forward(self, batch: Batch) -> Outcome:
        """The loss over utterances that have a frame; counts their symbols."""
        config, targets = self.config, targets_of(batch, "transducer")
        states, lengths = self.states(batch)
        frames = self.head(states, lengths)
        shown = states[-1].detach()[valid_mask(lengths, frames.shape[1])]
        kept = ((lengths > 0) & (targets >= 0).any(1)).nonzero().squeeze(1)
        scalars: dict[str, Tensor | float] = {"no_path": 1 - len(kept) / len(targets)}
        if not len(kept):
            nothing = sum((p.sum() * 0.0 for p in self.parameters() if p.requires_grad), frames.sum() * 0.0)
            return Outcome(nothing.float(), 0, scalars, shown)
        if len(kept) < len(targets):
            frames, lengths, targets = frames[kept], lengths[kept], targets[kept]
        count, loss = int((targets >= 0).sum()), frames.new_zeros(())
        if not self.training or int(self.updates) >= config.ctc_start:
            logits = self.transducer.join(frames[:, :, None], self.transducer.predictions(targets)[:, None])
            loss = transducer_losses(logits, lengths, targets, blank=config.blank).sum().float()
            scalars["transducer_loss"] = loss.detach() / count
        if self.ctc is not None:
            log_probs = self.ctc(frames).float().log_softmax(-1)
            losses, possible = ctc_losses(log_probs, lengths, targets, blank=config.blank)
            loss = loss + config.ctc_weight * losses.sum()
            scalars["ctc_loss"] = losses.detach().sum() / count
            scalars["ctc_no_path"] = (~possible).sum() / len(possible)
        if not self.training:
            with torch.no_grad():
                written = greedy(self.transducer, frames, lengths)
            scalars["token_error_rate"] = token_errors([list(text.ids) for text in written], targets) / count
        return Outcome(loss, count, scalars, shown)
