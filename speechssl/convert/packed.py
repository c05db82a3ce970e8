"""Query, key and value that a checkpoint keeps in one tensor."""

from collections.abc import Mapping

import torch
from torch import Tensor

from speechssl.errors import CheckpointError


def unpack(tensors: Mapping[str, Tensor], packed: str, parts: str, *, where: str) -> dict[str, Tensor]:
    """STEM + packed + P as STEM + parts + P: a third each for q_proj, k_proj and v_proj in place of {}."""
    result = {}
    for key, tensor in tensors.items():
        stem, found, last = key.partition(packed)
        if not found:
            result[key] = tensor
            continue
        if tensor.ndim == 0 or len(tensor) % 3:
            raise CheckpointError(f"{where}: {key!r} is no stack of query, key and value: {tuple(tensor.shape)}")
        for name, third in zip(("q_proj", "k_proj", "v_proj"), torch.chunk(tensor, 3), strict=True):
            result[stem + parts.format(name) + last] = third
    return result
