"""HuBERT (arXiv:2106.07447): predict the cluster of every masked frame.

Labels of the first iteration are k-means clusters of MFCCs, of the second those of a layer of the first model; both
come from `speechssl units`.

Its formulas are in `nn.prediction`. T frames, D dimensions of the code space, V labels, N frames that are predicted.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError
from speechssl.nn.masked import MaskedInput, Masking
from speechssl.nn.masking import SpanMask
from speechssl.nn.prediction import code_logits, frame_labels, predict_labels
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome


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
        self.masked = MaskedInput(encoder, config.masking)
        self.projection = nn.Linear(encoder.dim, config.code_dim)
        self.codes = nn.Parameter(torch.rand(config.num_labels, config.code_dim))

    def forward(self, batch: Batch) -> Outcome:
        """The loss over masked frames (and unmasked ones, where they have a weight); counts those with a weight."""
        config = self.config
        inputs = self.masked(self.encoder, batch.wav, batch.lengths, batch.seeds)
        x = self.encoder.finish(inputs.x, inputs.lengths)
        found = predict_labels(
            self._logits, x, frame_labels(batch.labels, x.shape[1]), inputs.valid, inputs.mask,
            masked_weight=config.masked_weight, unmasked_weight=config.unmasked_weight,
        )  # fmt: skip
        loss = found.loss + config.penalty * (inputs.penalty * found.predicted.sum(1)).sum()
        scalars = found.scalars | {"penalty": inputs.penalty.detach().mean()}
        return Outcome(loss, found.count, scalars, x[inputs.valid].detach(), found.codes)

    def _logits(self, frames: Tensor) -> Tensor:
        return code_logits(self.projection(frames), self.codes, self.config.temperature)

    def after_step(self, step: int) -> None:
        """Nothing to do."""
