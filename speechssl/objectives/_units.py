"""What objectives over units share: what a batch has of them, and what they say of a batch, also of one without any.

B utterances, T units, N units and ends, V units.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import DataError
from speechssl.nn.label_smoothing import smoothed_loss
from speechssl.objectives import Outcome


def units_of(batch: Batch) -> Tensor:
    """The units of a batch, [B, T] with -1 behind their ends."""
    if batch.labels is None:
        raise DataError("a model of units needs units (labels) in its batches")
    return batch.labels if batch.labels.ndim == 2 else batch.labels.squeeze(2)  # one stream


def languages_of(batch: Batch, num_languages: int) -> Tensor:
    """Numbers [B] of the languages of a batch."""
    if num_languages == 1:
        return torch.zeros_like(batch.lengths)
    if batch.groups is None:
        raise DataError(f"a model of {num_languages} languages needs each utterance's (groups)")
    return batch.groups


def cross_entropy(
    logits: Tensor, wanted: Tensor, shown: Tensor, *, smoothing: float = 0.0,
    more: Mapping[str, Tensor | float] | None = None, tallies: Mapping[str, int] | None = None,
) -> Outcome:  # fmt: skip
    """Of logits [N, V + 1] and the units and ends [N] that are wanted, each an item; shown: states for the log."""
    count, codes = len(wanted), logits.detach().argmax(-1)
    loss = smoothed_loss(logits, wanted, smoothing)
    nll = loss.detach() if not smoothing else smoothed_loss(logits.detach(), wanted)
    scalars: dict[str, Tensor | float] = {"nll": nll / count, "accuracy": (codes == wanted).sum() / count}
    return Outcome(loss, count, {**scalars, **(more or {})}, shown, codes, tallies or {})


def nothing(objective: nn.Module, tallies: Mapping[str, int] | None = None) -> Outcome:
    """Of a batch without an item: a loss of 0 with a gradient of 0 for everything that is trained."""
    zero = sum((p.sum() * 0.0 for p in objective.parameters() if p.requires_grad), torch.zeros(()))
    return Outcome(zero, 0, {}, torch.zeros(0, 1), tallies=tallies or {})
