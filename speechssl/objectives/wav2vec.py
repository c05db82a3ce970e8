"""wav2vec (arXiv:1904.05862): is this the frame that comes k steps later, or a distractor? For k = 1..K.

B utterances, T frames, K steps, C channels of c, D of z, N distractors of a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import ConfigError
from speechssl.nn.causal_encoder import CausalEncoder
from speechssl.nn.lengths import valid_mask
from speechssl.nn.negatives import all_future_scores, draw_negatives
from speechssl.objectives import Outcome


def step_loss(true: Tensor, others: Tensor, weight: float) -> Tensor:
    """Eq. (1), summed over frames: -log σ of true scores [M] and -λ times the mean of log σ(-s) of others [M, N]."""
    return -F.logsigmoid(true.float()).sum() - weight * F.logsigmoid(-others.float()).mean(1).sum()


@dataclass(frozen=True)
class Config:
    """The base model's settings. After each field: its name in fairseq's configs."""

    steps: int = 12  # prediction_steps, K
    offset: int = 1  # offset: the first step; the released code's "auto" is 3, beyond what a frame's samples overlap
    negatives: int = 10  # num_negatives, N
    weight: float = 10.0  # λ, the number of distractors in the paper

    def __post_init__(self) -> None:
        """Refuse what predicts nothing."""
        if min(self.steps, self.offset, self.negatives) < 1 or self.weight <= 0:
            raise ConfigError(f"steps, offset and negatives must be at least 1, weight above 0, got {self}")


@dataclass(frozen=True)
class Predicted:
    """Sums over the pairs of a frame and a step whose future is known."""

    loss: Tensor
    count: int
    correct: Tensor  # [] pairs whose true frame scores above all of its distractors

    @property
    def scalars(self) -> dict[str, Tensor | float]:
        """Means."""
        count = max(1, self.count)
        return {"contrastive_loss": self.loss.detach() / count, "accuracy": self.correct / count}


class FuturePrediction(nn.Module):
    """The affine maps h_k, and the loss of all steps."""

    def __init__(self, in_dim: int, out_dim: int, config: Config) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(in_dim, config.steps * out_dim)

    def forward(self, z: Tensor, c: Tensor, lengths: Tensor, seeds: Sequence[int]) -> Predicted:
        """z [B, T, D], c [B, T, C], of which lengths [B] frames are real. Distractors are of the same utterance."""
        config = self.config
        predicted = self.linear(c).unflatten(-1, (config.steps, -1))
        loss = predicted[:, :0].sum().float()
        count, correct = 0, loss.new_zeros(())
        for row, (num_frames, seed) in enumerate(zip(lengths.tolist(), seeds, strict=True)):
            last = min(config.offset + config.steps, num_frames)
            if last <= config.offset:
                continue
            drawn = draw_negatives(num_frames, config.negatives, seed ^ 1).to(z.device)
            mine = predicted[row, :num_frames, : last - config.offset]
            true, others = all_future_scores(mine, z[row, :num_frames], drawn, first=config.offset)
            loss = loss + step_loss(true, others, config.weight)
            count += len(true)
            correct = correct + (true.detach() > others.detach().amax(1)).sum()
        return Predicted(loss, count, correct)


class Objective(nn.Module):
    """Prediction of the future, one distractor at a time."""

    def __init__(self, encoder: CausalEncoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.predictions = FuturePrediction(encoder.dim, encoder.layer_dims[0], config)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over frames and steps; counts pairs of a frame and a step whose future is known."""
        x, lengths = self.encoder.frontend(batch.wav, batch.lengths)
        z = self.encoder.latent(x, lengths)
        c = self.encoder.context(z, lengths)
        found = self.predictions(z, c, lengths, batch.seeds.tolist())
        frames = c[valid_mask(lengths, c.shape[1])].detach()
        return Outcome(found.loss, found.count, found.scalars, frames)

    def after_step(self, step: int) -> None:
        """Nothing to do."""
