"""Label smoothing (arXiv:1512.00567, section 7): a share of the target's probability is spread over all symbols."""

import torch
import torch.nn.functional as F
from torch import Tensor


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy of q'(k) = (1 - ε) [k = y] + ε / V with softmax(logits), summed over N items; float32 or wider.

    logits [N, V], targets [N] int64. Equation of section 7 of arXiv:1512.00567 with a uniform u(k).
    differs: fairseq spreads ε over the V - 1 others: ε of fairseq is ε V / (V - 1) here (0.2 with V = 101: 0.202).
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be in 0..1, got {smoothing}")
    log_probs = F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)
    right = log_probs.gather(-1, targets.unsqueeze(-1)).sum()
    if not smoothing:
        return -right
    return -(1 - smoothing) * right - smoothing * log_probs.mean(-1).sum()
