"""Predicting one label per frame by its similarity to a learned code: HuBERT (arXiv:2106.07447), WavLM.

B utterances, T frames, C channels, D dimensions of the code space, V labels, N frames that are predicted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.errors import DataError


def code_logits(projected: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Eq. (3) before its softmax: cosine similarity of projected frames [N, D] and codes [V, D] over τ; [N, V]."""
    return F.normalize(projected.float(), dim=-1) @ F.normalize(codes.float(), dim=-1).T / temperature


def prediction_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Eq. (1): the negative log likelihood of labels [N] under logits [N, V], summed over frames."""
    return F.cross_entropy(logits, labels, reduction="sum")


@dataclass(frozen=True)
class Prediction:
    """How well labels were predicted."""

    loss: Tensor  # []
    predicted: Tensor  # [B, T] True: has a weight, and its label is known
    count: int  # of these
    scalars: dict[str, Tensor | float]
    codes: Tensor  # [N] most likely labels of these, masked ones first


def predict_labels(
    logits_of: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, valid: Tensor, mask: Tensor, *,
    masked_weight: float, unmasked_weight: float,
) -> Prediction:  # fmt: skip
    """Eq. (2): the loss over masked frames and over unmasked ones, of each kind only where it has a weight.

    x [B, T, C]; labels [B, T], -1 where there is none; logits_of: frames [N, C] to logits [N, V].
    """
    known = valid & (labels >= 0)
    predicted = torch.zeros_like(known)
    loss = x.new_zeros((), dtype=torch.float32)
    codes: list[Tensor] = []
    scalars: dict[str, Tensor | float] = {"masked_share": (known & mask).sum() / known.sum().clamp(min=1)}
    for prefix, frames, weight in (("", known & mask, masked_weight), ("unmasked_", known & ~mask, unmasked_weight)):
        if not weight:
            continue
        logits, count = logits_of(x[frames]), frames.sum().clamp(min=1)
        own_loss, own_codes = prediction_loss(logits, labels[frames]), logits.argmax(-1)
        loss = loss + weight * own_loss
        scalars[f"{prefix or 'masked_'}loss"] = own_loss.detach() / count
        scalars[f"{prefix}accuracy"] = (own_codes == labels[frames]).sum() / count
        predicted, codes = predicted | frames, [*codes, own_codes]
    return Prediction(loss, predicted, int(predicted.sum()), scalars, torch.cat(codes))


def frame_labels(labels: Tensor | None, num_frames: int) -> Tensor:
    """A batch's labels [B, num_frames], -1 where there are none. DataError where the batch has none at all."""
    if labels is None:
        raise DataError("this objective needs labels in its batches")
    return F.pad(labels, (0, max(0, num_frames - labels.shape[1])), value=-1)[:, :num_frames]
