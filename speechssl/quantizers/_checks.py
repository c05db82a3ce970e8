"""What more than one quantizer checks."""

from collections.abc import Mapping, Set

import torch
from torch import Tensor

from speechssl.errors import CheckpointError, DataError


def check_frames(frames: Tensor, dim: int) -> Tensor:
    """Frames [..., C], or DataError for other channels, NaN or infinity."""
    if frames.shape[-1:] != (dim,):
        raise DataError(f"frames of shape {list(frames.shape)} do not fit a quantizer of {dim} channels")
    if not bool(torch.isfinite(frames).all()):
        raise DataError("the frames contain NaN or infinity")
    return frames


def check_ids(ids: Tensor, size: int) -> Tensor:
    """Ids as int64, or DataError for those that do not exist."""
    if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < size):
        raise DataError(f"unit ids must lie in 0..{size - 1}, found {int(ids.min())}..{int(ids.max())}")
    return ids.long()


def same_names(tensors: Mapping[str, Tensor], expected: Set[str]) -> None:
    """CheckpointError unless these are the tensors."""
    if set(tensors) != set(expected):
        raise CheckpointError(f"expected the tensors {sorted(expected)}, found {sorted(tensors)}")
