"""How long units last that were merged: a predictor over deduplicated units.

Two convolutions over the units' embeddings, each followed by ReLU, layer norm and dropout, and a linear layer that
gives log(1 + frames), learned by the mean squared error: FastSpeech 2's variance predictor (arXiv:2006.04558, section
2.3), which the unit vocoder of arXiv:2107.05604 has; that of arXiv:2104.00355 has none.

B utterances, N deduplicated units, C channels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.lengths import zero_padding

_LONGEST = 500  # frames of one unit that anybody may predict: 10 s at 50 Hz


@dataclass(frozen=True)
class Settings:
    """Of the predictor; the defaults are those of the released vocoders."""

    hidden: int = 128
    kernel: int = 3
    dropout: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what nobody builds."""
        if not 1 <= self.hidden <= 1 << 16 or self.kernel < 1 or self.kernel % 2 == 0 or not 0 <= self.dropout < 1:
            raise ConfigError(f"a duration predictor needs hidden >= 1, an odd kernel, 0 <= dropout < 1, got {self}")


class VariancePredictor(nn.Module):
    """Embeddings of deduplicated units to log(1 + frames), or to whatever numbers each is to have."""

    def __init__(self, dim: int, settings: Settings, outputs: int = 1) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, settings.hidden, settings.kernel, padding=settings.kernel // 2)
            for channels in (dim, settings.hidden)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(settings.hidden) for _ in self.convs)
        self.dropout = nn.Dropout(settings.dropout)
        self.last = nn.Linear(settings.hidden, outputs)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B, N], or [B, N, outputs] of several, of embeddings [B, N, C]; `valid` [B, N] are real units (None: all)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(zero_padding(x, valid).transpose(1, 2)).transpose(1, 2)
            x = self.dropout(norm(F.relu(x)))
        return self.last(x).squeeze(2)

    @torch.no_grad()
    def adjust(self, gain: Tensor | float, shift: Tensor | float) -> None:
        """From now on gain * y + shift in place of y; one number, or one for each output."""
        self.last.weight.mul_(torch.as_tensor(gain).reshape(-1, 1).to(self.last.weight))
        self.last.bias.mul_(torch.as_tensor(gain).to(self.last.bias)).add_(torch.as_tensor(shift).to(self.last.bias))


def duration_loss(predicted: Tensor, durations: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean squared error of log(1 + frames) over real units. predicted, durations, valid: [B, N]."""
    errors = (predicted.float() - durations.float().log1p()).square()
    return errors.mean() if valid is None else errors[valid].mean()


def shift_to_total(predicted: Tensor, durations: Tensor) -> float:
    """What to add to predictions so that their `whole_frames` are as many as durations in all; both [N].

    Without it speech is too short: the exponential of a mean logarithm lies below the mean, and most runs of units last
    one frame. As Duan's smearing estimate (JASA 78, 1983) does, but through the rounding. Found by bisection.
    """
    low, high, wanted = -4.0, 4.0, int(durations.sum())
    for _ in range(40):
        middle = (low + high) / 2
        if int(whole_frames(predicted + middle).sum()) < wanted:
            low = middle
        else:
            high = middle
    return high


def whole_frames(predicted: Tensor) -> Tensor:
    """Frames [..., N] int64, at least one each, of predictions [..., N]."""
    return predicted.float().exp().sub(1).round().clamp(1, _LONGEST).long()
