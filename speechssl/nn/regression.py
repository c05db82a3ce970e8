"""Regression to a teacher's frames, as data2vec (arXiv:2202.03555) and data2vec 2.0 (arXiv:2212.07525) do it.

T frames, C channels, K blocks, N masked frames.
"""

import math

import torch.nn.functional as F
from torch import Tensor


def average(layers: list[Tensor]) -> Tensor:
    """Section 3.3 of arXiv:2202.03555, y_t: the mean of the top K normalised blocks, [B, T, C]."""
    return sum(layers[1:], start=layers[0]) / len(layers)


def regression_loss(predictions: Tensor, targets: Tensor, beta: float = 0.0) -> Tensor:
    """Section 3.4 of arXiv:2202.03555, of [N, C], summed over frames: smooth L1 with `beta`, the square where it is 0.

    Summed over channels and divided by their root, as in the released code. The square is (y - f)², without the half
    that smooth L1 has.
    """
    predictions = predictions.to(targets.dtype)
    if beta == 0:
        loss = F.mse_loss(predictions, targets, reduction="sum")
    else:
        loss = F.smooth_l1_loss(predictions, targets, reduction="sum", beta=beta)
    return loss / math.sqrt(predictions.shape[-1])


def deviation(x: Tensor) -> Tensor:
    """The standard deviation over frames of x [N, C], the mean over channels: near 0 where all frames are alike."""
    return x.detach().var(0, correction=0).sqrt().mean() if len(x) else x.new_zeros(())
