"""Connectionist temporal classification (Graves et al. 2006): an encoder is fine-tuned to write what is said.

As wav2vec 2.0 (arXiv:2006.11477, sections 3.3 and 4.2) and HuBERT (arXiv:2106.07447, section IV-D) do it: a head on
the encoder, the front end frozen, at first the whole encoder (`freeze_updates`), spans of frames and of channels masked
as a regulariser. In validation nothing is masked, and greedy decoding gives the token error rate.

differs: the loss is divided by the number of symbols (average="token"), where fairseq's published settings have
sentence_avg, "utterance" here: Adam does not see the factor, and the error rate needs its symbols counted. The mask
vector is drawn anew; fairseq goes on with that of pre-training.

B utterances, T frames, V symbols, L symbols of a target.
"""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from speechssl.data.batch import Batch
from speechssl.decoders.collapse import best_path
from speechssl.errors import ConfigError
from speechssl.nn.ctc_loss import path_losses, possible
from speechssl.nn.frame_head import Head
from speechssl.nn.lengths import valid_mask
from speechssl.nn.masked import Masking
from speechssl.nn.masking import SpanMask
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome
from speechssl.objectives._fine_tuning import FineTuning, targets_of, token_errors


@dataclass(frozen=True)
class Config:
    """The defaults are fairseq's base_10h.yaml. After each field: its name in fairseq's configs."""

    num_symbols: int  # V, blank included
    blank: int = 0
    head: Head = field(default_factory=Head)
    masking: Masking = field(
        default_factory=lambda: Masking(
            channels=SpanMask(share=0.5, span=64, min_spans=0), gradient=0.0, dropout=0.0, features_dropout=0.0
        )
    )  # masking.gradient = 0: the front end is frozen
    freeze_updates: int = 0  # freeze_finetune_updates: the encoder is frozen for so long; the head is not
    average: Literal["token", "utterance"] = "token"  # what the loss is a mean over

    def __post_init__(self) -> None:
        """Refuse what writes nothing."""
        if self.num_symbols < 2 or not 0 <= self.blank < self.num_symbols or self.freeze_updates < 0:
            raise ConfigError(f"ctc needs num_symbols >= 2, a blank among them and freeze_updates >= 0, got {self}")


class Objective(FineTuning):
    """Fine-tuning with CTC."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__(encoder, config.head, config.num_symbols, masking=config.masking,
                         freeze_updates=config.freeze_updates)  # fmt: skip
        self.config = config

    def forward(self, batch: Batch) -> Outcome:
        """The loss over utterances that have a path; counts their symbols, or them."""
        targets = targets_of(batch, "ctc")
        states, frames = self.states(batch)
        log_probs = self.head(states, frames).log_softmax(-1)
        kept = possible(frames, targets).nonzero().squeeze(1)
        every = len(kept) == len(targets)
        if not every:
            log_probs, targets = log_probs[kept], targets[kept]
        left = frames if every else frames[kept]
        symbols = int((targets >= 0).sum())
        if len(kept):
            loss = path_losses(log_probs, left, targets, blank=self.config.blank).sum().float()
        else:
            loss = log_probs.sum().float() * 0.0
        valid = valid_mask(left, log_probs.shape[1])
        best = log_probs.detach().argmax(-1)
        scalars: dict[str, Tensor | float] = {
            "no_path": 1 - len(kept) / len(batch.lengths),
            "blank_share": ((best == self.config.blank) & valid).sum() / valid.sum().clamp(min=1),
        }
        if not self.training:
            written = best_path(log_probs, left, self.config.blank)
            scalars["token_error_rate"] = token_errors(written, targets) / max(1, symbols)
        count = symbols if self.config.average == "token" else len(kept)
        x = states[-1].detach()
        return Outcome(loss, count, scalars, x[valid_mask(frames, x.shape[1])])
