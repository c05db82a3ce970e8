"""Predicting one label per frame by its similarity to a learned code: HuBERT (arXiv:2106.07447), WavLM.

B utterances, T frames, C channels, D dimensions of the code space, V labels, N frames that are predicted.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
    masked: Tensor  # [B, T] True: masked, and its label is known
    count: int  # of these
    scalars: dict[str, Tensor | float]
    codes: Tensor  # [N] most likely labels of masked frames


def predict_labels(
    logits_of: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, valid: Tensor, mask: Tensor, *,
    masked_weight: float, unmasked_weight: float,
) -> Prediction:  # fmt: skip
    """Eq. (2): the loss over masked frames and, where they have a weight, unmasked ones.

    x [B, T, C]; labels [B, T], -1 where there is none; logits_of: frames [N, C] to logits [N, V].
    """
    known = valid & (labels >= 0)
    masked, unmasked = known & mask, known & ~mask
    count = int(masked.sum())
    logits = logits_of(x[masked])
    masked_loss = prediction_loss(logits, labels[masked])
    loss = masked_weight * masked_loss
    if unmasked_weight:
        loss = loss + unmasked_weight * prediction_loss(logits_of(x[unmasked]), labels[unmasked])
    codes = logits.argmax(-1)
    scalars: dict[str, Tensor | float] = {
        "masked_loss": masked_loss.detach() / max(1, count),
        "accuracy": (codes == labels[masked]).sum() / max(1, count),
        "masked_share": masked.sum() / known.sum().clamp(min=1),
    }
    return Prediction(loss, masked, count, scalars, codes)


def frame_labels(labels: Tensor | None, num_frames: int) -> Tensor:
    """A batch's labels [B, num_frames], -1 where there are none. DataError where the batch has none at all."""
    if labels is None:
        raise DataError("this objective needs labels in its batches")
    return F.pad(labels, (0, max(0, num_frames - labels.shape[1])), value=-1)[:, :num_frames]
