"""WavLM (arXiv:2110.13900): HuBERT's prediction of masked frames' labels, from mixtures with other speech or noise.

The labels are those of the clean primary utterance, so that the model learns to hear one speaker among others. Its
encoder family, `wavlm`, has the gated relative position bias. Formulas are in `nn.prediction` and `data.mixing`.

T frames, D dimensions of the code space, V labels, N frames that are predicted.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.data.mixing import Mixing, mix_batch
from speechssl.errors import ConfigError
from speechssl.nn.masked import MaskedInput, Masking
from speechssl.nn.masking import SpanMask
from speechssl.nn.prediction import code_logits, frame_labels, predict_labels
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome


@dataclass(frozen=True)
class Config:
    """The base model's settings, HuBERT's but for `mixing`."""

    num_labels: int  # V, taken from the labels
    mixing: Mixing = field(default_factory=Mixing)
    masking: Masking = field(default_factory=lambda: Masking(time=SpanMask(share=0.80), features_dropout=0.0))
    code_dim: int = 256  # D
    temperature: float = 0.1  # τ
    penalty: float = 10.0  # of the mean square of the convolutions' output

    def __post_init__(self) -> None:
        """Refuse what predicts nothing."""
        if self.num_labels < 2 or self.temperature <= 0:
            raise ConfigError(f"wavlm needs num_labels >= 2 and temperature > 0, got {self}")


class Objective(nn.Module):
    """Masked prediction of labels with denoising."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.masked = MaskedInput(encoder, config.masking)
        self.projection = nn.Linear(encoder.dim, config.code_dim)
        self.codes = nn.Parameter(torch.rand(config.num_labels, config.code_dim))

    def forward(self, batch: Batch) -> Outcome:
        """The loss over masked frames; counts them.

        Mixtures are made in training only: validation hears clean speech.
        """
        config, wav = self.config, batch.wav
        scalars: dict[str, Tensor | float] = {}
        if self.training:
            wav, mixed = mix_batch(wav, batch.lengths, batch.seeds, config.mixing, batch.noise)
            scalars["mixed_share"] = mixed.float().mean()
        inputs = self.masked(self.encoder, wav, batch.lengths, batch.seeds)
        x = self.encoder.finish(inputs.x, inputs.lengths)
        found = predict_labels(
            self._logits, x, frame_labels(batch.labels, x.shape[1]), inputs.valid, inputs.mask, masked_weight=1.0,
            unmasked_weight=0.0,
        )  # fmt: skip
        loss = found.loss + config.penalty * (inputs.penalty * found.predicted.sum(1)).sum()
        scalars |= found.scalars | {"penalty": inputs.penalty.detach().mean()}
        return Outcome(loss, found.count, scalars, x[inputs.valid].detach(), found.codes)

    def _logits(self, frames: Tensor) -> Tensor:
        return code_logits(self.projection(frames), self.codes, self.config.temperature)

    def after_step(self, step: int) -> None:
        """Nothing to do."""
