"""HuBERT (arXiv:2106.07447): predict the cluster of every masked frame.

Labels of the first iteration are k-means clusters of MFCCs, of the second those of a layer of the first model; both
come from `speechssl units`.

B utterances, T frames, C channels, D dimensions of the code space, V labels, N frames that are predicted.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError, DataError
from speechssl.nn.masked import MaskedInput, Masking
from speechssl.nn.masking import SpanMask
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome


def code_logits(projected: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Eq. (3) before its softmax: cosine similarity of projected frames [N, D] and codes [V, D] over τ; [N, V]."""
    return F.normalize(projected.float(), dim=-1) @ F.normalize(codes.float(), dim=-1).T / temperature


def prediction_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Eq. (1): the negative log likelihood of labels [N] under logits [N, V], summed over frames."""
    return F.cross_entropy(logits, labels, reduction="sum")


@dataclass(frozen=True)
class Config:
    """The base model's settings. After each field: its name in fairseq's configs."""

    num_labels: int  # V, taken from the labels
    masking: Masking = field(default_factory=lambda: Masking(time=SpanMask(share=0.80), features_dropout=0.0))
    code_dim: int = 256  # final_dim, D
    temperature: float = 0.1  # logit_temp, τ
    masked_weight: float = 1.0  # pred_masked_weight, α of eq. (2)
    unmasked_weight: float = 0.0  # pred_nomask_weight, 1 - α
    penalty: float = 10.0  # loss_weights: of the mean square of the convolutions' output

    def __post_init__(self) -> None:
        """Refuse what predicts nothing."""
        if self.num_labels < 2 or self.temperature <= 0 or max(self.masked_weight, self.unmasked_weight) <= 0:
            raise ConfigError(f"hubert needs num_labels >= 2, temperature > 0 and a weight > 0, got {self}")


class Objective(nn.Module):
    """Masked prediction of labels."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.masked = MaskedInput(encoder.dim, config.masking)
        self.projection = nn.Linear(encoder.dim, config.code_dim)
        self.codes = nn.Parameter(torch.rand(config.num_labels, config.code_dim))

    def forward(self, batch: Batch) -> Outcome:
        """The loss over masked frames (and unmasked ones, where they have a weight); counts masked frames."""
        config = self.config
        inputs = self.masked(self.encoder, batch.wav, batch.lengths, batch.seeds)
        x = self.encoder.finish(inputs.x, inputs.lengths)
        labels = frame_labels(batch, x.shape[1])
        known = inputs.valid & (labels >= 0)
        masked, unmasked = known & inputs.mask, known & ~inputs.mask
        count = int(masked.sum())
        logits = self._logits(x[masked])
        loss = config.masked_weight * prediction_loss(logits, labels[masked])
        scalars: dict[str, Tensor | float] = {
            "masked_loss": loss.detach() / max(1, count),
            "accuracy": (logits.argmax(-1) == labels[masked]).sum() / max(1, count),
            "masked_share": masked.sum() / known.sum().clamp(min=1),
            "penalty": inputs.penalty.detach().mean(),
        }
        if config.unmasked_weight:
            loss = loss + config.unmasked_weight * prediction_loss(self._logits(x[unmasked]), labels[unmasked])
        loss = loss + config.penalty * (inputs.penalty * masked.sum(1)).sum()
        return Outcome(loss, count, scalars, x[inputs.valid].detach(), logits.argmax(-1))

    def _logits(self, frames: Tensor) -> Tensor:
        return code_logits(self.projection(frames), self.codes, self.config.temperature)

    def after_step(self, step: int) -> None:
        """Nothing to do."""


def frame_labels(batch: Batch, num_frames: int) -> Tensor:
    """The batch's labels [B, T], -1 where there are none. DataError where they do not fit the frames."""
    labels = batch.labels
    if labels is None:
        raise DataError("this objective needs labels in its batches")
    return F.pad(labels, (0, max(0, num_frames - labels.shape[1])), value=-1)[:, :num_frames]
