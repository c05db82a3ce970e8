"""The loss of connectionist temporal classification (Graves et al. 2006) where it is one of several.

B utterances, T frames, L symbols of a target, N outputs, the blank among them.
"""

import torch.nn.functional as F
from torch import Tensor


def ctc_losses(log_probs: Tensor, lengths: Tensor, targets: Tensor, *, blank: int) -> tuple[Tensor, Tensor]:
    """-ln p(target | frames) of each utterance (their Eq. 3), and whether there is a path at all; [B] each.

    log_probs [B, T, N] normalised, lengths [B] of frames, targets [B, L] with -1 behind their ends. The loss is 0
    without a target, and where the frames are too few for it: one each, and one more between two equal symbols.
    """
    real = targets >= 0
    sizes = real.sum(1)
    repeated = ((targets[:, 1:] == targets[:, :-1]) & real[:, 1:]).sum(1)
    possible = (lengths >= sizes + repeated) & (sizes > 0)
    losses = F.ctc_loss(log_probs.transpose(0, 1), targets.clamp_min(0), lengths, sizes, blank=blank,
                        reduction="none", zero_infinity=True)  # fmt: skip
    return losses.masked_fill(~possible, 0.0), possible
