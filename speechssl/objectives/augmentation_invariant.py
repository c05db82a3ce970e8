"""Units that stay the same when the recording changes: a small network learns another quantizer's units by CTC.

"Augmentation Invariant Discrete Representation for Generative Spoken Language Modeling" (Gat et al.,
arXiv:2209.15483): the labels are the units of clean recordings, the batches hold changed ones (`data.augment`), the
encoder is frozen. CTC asks for the sequence only, so that a stretched recording fits. What comes out is a quantizer
(`quantizers.mlp`), whose units may be the labels of the next iteration.

No blank: merged units never repeat, which is what blanks are for, and without one every frame has a unit. (Whether the
paper has one was not checked.)

B utterances, T frames, C channels, V labels, L merged labels of an utterance.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl import encoders
from speechssl.data.batch import Batch
from speechssl.errors import ConfigError
from speechssl.nn.lengths import valid_mask
from speechssl.nn.prediction import frame_labels
from speechssl.objectives import Outcome
from speechssl.quantizers.mlp import SLOPE

_NEVER = -1e4  # log probability of a blank: none, and its gradient is a number


def sequence_loss(logits: Tensor, num_frames: Tensor, targets: list[Tensor]) -> Tensor:
    """-log P(targets | logits) [B] of logits [B, T, V]: summed over all ways to hold each label for a frame or more.

    targets: [L] labels of each utterance, no two alike in a row. 0 where there are fewer than L frames, or L is 0.
    """
    if not logits.numel():
        return logits.float().sum((1, 2))
    log_probs = F.pad(logits.float().log_softmax(-1), (0, 1), value=_NEVER).transpose(0, 1)
    counts = torch.tensor([len(target) for target in targets], device=logits.device)
    return F.ctc_loss(log_probs, torch.cat(targets), num_frames, counts, blank=logits.shape[-1], reduction="none",
                      zero_infinity=True) * (counts > 0)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The shape of the network; chosen, the paper's text was not at hand."""

    num_labels: int  # V, taken from the labels
    layer: int | None = None  # of the encoder; None: the last
    hidden: tuple[int, ...] = (512, 512)  # widths between C and V

    def __post_init__(self) -> None:
        """Refuse what predicts nothing."""
        if self.num_labels < 2 or min(self.hidden, default=1) < 1:
            raise ConfigError(f"augmentation_invariant needs num_labels >= 2 and widths >= 1, got {self}")


class Objective(nn.Module):
    """A network on frozen frames."""

    in_step: ClassVar[bool] = False  # labels need not be in step with frames: speech may be stretched

    def __init__(self, encoder: nn.Module, config: Config) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.layer = encoder.num_layers if config.layer is None else config.layer
        if not 0 <= self.layer <= encoder.num_layers:
            raise ConfigError(f"layer {self.layer}: the encoder has layers 0..{encoder.num_layers}")
        encoder.requires_grad_(False)
        widths = (encoders.layer_dim(encoder, self.layer), *config.hidden, config.num_labels)
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def train(self, mode: bool = True) -> "Objective":
        """A frozen encoder has no dropout either."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, batch: Batch) -> Outcome:
        """The loss over utterances; counts their merged labels."""
        with torch.no_grad():
            layers, num_frames = self.encoder.layers(batch.wav, batch.lengths, upto=self.layer)
        x = layers[self.layer]
        logits = x
        for i, linear in enumerate(self.linears):
            logits = linear(F.leaky_relu(logits, SLOPE) if i else logits)
        targets = self._targets(batch)
        fits = torch.tensor([len(t) for t in targets], device=x.device) <= num_frames
        targets = [t if fit else t[:0] for t, fit in zip(targets, fits.tolist(), strict=True)]
        losses = sequence_loss(logits, num_frames, targets)
        count = sum(len(target) for target in targets)
        valid = valid_mask(num_frames, x.shape[1])
        loss = losses.sum()
        scalars: dict[str, Tensor | float] = {
            "loss_per_unit": loss.detach() / max(1, count),
            "too_short": 1 - fits.double().mean(),
        }
        return Outcome(loss, count, scalars, x[valid].detach(), logits[valid].argmax(-1))

    def _targets(self, batch: Batch) -> list[Tensor]:
        """Merged labels [L] of each utterance."""
        clean = self.encoder.frame_lengths(batch.lengths if batch.source_lengths is None else batch.source_lengths)
        labels = frame_labels(batch.labels, int(clean.max()))
        own = [row[:count] for row, count in zip(labels, clean.tolist(), strict=True)]
        return [torch.unique_consecutive(row[row >= 0]) for row in own]

    def after_step(self, step: int) -> None:
        """Nothing to do."""
