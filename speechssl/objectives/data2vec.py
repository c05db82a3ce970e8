"""data2vec for speech (arXiv:2202.03555): regress, at masked frames, to what a teacher makes of the unmasked input.

The teacher is a moving average of the student; targets are the mean of its top K blocks' feed-forward outputs, each
normalised over the utterance. As in the released code, the teacher shares the student's convolutions, projection and
positional embedding, and only its transformer is an average.

B utterances, T frames, C channels, K blocks. The loss: `nn.regression`.
"""

from dataclasses import dataclass, field

from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError
from speechssl.nn.ema import Decay, Teacher, check_teacher
from speechssl.nn.masked import MaskedInput, Masking
from speechssl.nn.masking import SpanMask
from speechssl.nn.regression import average, deviation, regression_loss
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome


@dataclass(frozen=True)
class Config:
    """The base model's settings for speech. After each field: its name in fairseq's configs."""

    masking: Masking = field(
        default_factory=lambda: Masking(time=SpanMask(min_spans=1), gradient=1.0, dropout=0.0, features_dropout=0.0)
    )
    top_layers: int = 8  # average_top_k_layers, K
    beta: float = 0.0  # loss_beta, 0: squared error
    decay: Decay = field(default_factory=Decay)

    def __post_init__(self) -> None:
        """Refuse a loss that is none."""
        if self.beta < 0:
            raise ConfigError(f"data2vec needs beta >= 0, got {self.beta}")


class Objective(nn.Module):
    """Regression to the teacher's averaged blocks."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        check_teacher(encoder, config.top_layers)
        self.encoder = encoder
        self.config = config
        self.masked = MaskedInput(encoder, config.masking)
        self.head = nn.Linear(encoder.dim, encoder.dim)  # final_proj
        self.teacher = Teacher(encoder, copied=("conv", "projection", "pos_conv"))

    def forward(self, batch: Batch, *, mask: Tensor | None = None) -> Outcome:
        """The loss over masked frames, which it counts. mask [B, T] overrules the drawn one."""
        config = self.config
        inputs = self.masked(self.encoder, batch.wav, batch.lengths, batch.seeds, mask=mask)
        x = self.encoder.finish(inputs.x, inputs.lengths)
        layers = self.teacher.targets(inputs.projected.detach(), inputs.lengths, config.top_layers)
        targets = average(layers)[inputs.mask]
        predictions = self.head(x[inputs.mask])
        scalars: dict[str, Tensor | float] = {
            "masked_share": inputs.mask.sum() / inputs.valid.sum().clamp(min=1),
            "target_deviation": deviation(targets),
            "prediction_deviation": deviation(predictions),
        }
        loss = regression_loss(predictions, targets, config.beta)
        return Outcome(loss, len(targets), scalars, x[inputs.valid].detach())

    def after_step(self, step: int) -> None:
        """The teacher follows."""
        self.teacher.follow(self.encoder, self.config.decay.at(step))
