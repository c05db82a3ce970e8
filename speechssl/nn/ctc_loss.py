"""The loss of connectionist temporal classification (Graves et al. 2006).

B utterances, T frames, L symbols of a target, N outputs, the blank among them.
"""

import torch.nn.functional as F
from torch import Tensor


def possible(frames: Tensor, targets: Tensor) -> Tensor:
    """Whether there is a path [B]: a frame for every symbol, and one more between two that are equal.

    frames [B]; targets [B, L] padded with -1.
    """
    real = targets >= 0
    repeated = (targets[:, 1:] == targets[:, :-1]) & real[:, 1:]
    return (frames >= real.sum(1) + repeated.sum(1)) & (frames > 0)


def path_losses(log_probs: Tensor, frames: Tensor, targets: Tensor, *, blank: int) -> Tensor:
    """Their eqs. (3) and (12) for each utterance: -ln p(target | frames), p summed over all paths; [B].

    log_probs [B, T, N] normalised, float32 or wider; frames [B] real ones; targets [B, L] padded with -1. Where no path
    is long enough (see `possible`) the loss is infinite and its gradient is not to be used.
    """
    return F.ctc_loss(log_probs.transpose(0, 1), targets.clamp(min=0), frames, (targets >= 0).sum(1), blank=blank,
                      reduction="none")  # fmt: skip


def ctc_losses(log_probs: Tensor, frames: Tensor, targets: Tensor, *, blank: int) -> tuple[Tensor, Tensor]:
    """The same where it is one of several losses, 0 where there is no path or no target; and where it counts [B]."""
    sizes = (targets >= 0).sum(1)
    counts = possible(frames, targets) & (sizes > 0)
    losses = F.ctc_loss(log_probs.transpose(0, 1), targets.clamp(min=0), frames, sizes, blank=blank,
                        reduction="none", zero_infinity=True)  # fmt: skip
    return losses.masked_fill(~counts, 0.0), counts
