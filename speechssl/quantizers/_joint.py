"""Several codebooks that speak together: a unit is what all of them say, one number as of a larger codebook.

N frames, G codebooks of V_1 .. V_G entries, units 0 .. V_1 V_2 .. V_G - 1 with the last codebook's entry
as the lowest digit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from speechssl.errors import CheckpointError, DataError
from speechssl.quantizers._checks import check_ids
from speechssl.quantizers.kmeans import KMeans

_MOST_UNITS = 1 << 24  # as a unit model's card has it
J = TypeVar("J", bound="Joint")


class Joint:
    """What `product` and `residual` share."""

    def __init__(self, codebooks: Sequence[KMeans]) -> None:
        self.codebooks = tuple(codebooks)
        if not self.codebooks:
            raise CheckpointError("at least one codebook is needed")
        self.sizes = tuple(book.size for book in self.codebooks)
        if self.size > _MOST_UNITS:
            raise CheckpointError(f"codebooks of {self.sizes} entries have {self.size} units together, more than "
                                  f"{_MOST_UNITS}")  # fmt: skip

    @property
    def size(self) -> int:
        """V, the number of units: the product of the codebooks' sizes."""
        total = 1
        for size in self.sizes:
            total *= size
        return total

    @property
    def dim(self) -> int:
        """C."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """`{"centroids.0": [V_1, C_1], ...}`."""
        return {f"centroids.{g}": book.centroids for g, book in enumerate(self.codebooks)}

    @classmethod
    def from_tensors(cls: type[J], tensors: Mapping[str, Tensor]) -> J:
        """The inverse of `tensors`; CheckpointError for other names or shapes."""
        names = [f"centroids.{g}" for g in range(len(tensors))]
        if set(tensors) != set(names):
            raise CheckpointError(f"expected centroids.0, centroids.1 ..., found {sorted(tensors)}")
        return cls([KMeans(tensors[name]) for name in names])

    def codes(self, ids: Tensor) -> Tensor:
        """The entry of each codebook, [..., G] int64, of units [...]. DataError for units that do not exist."""
        rest, found = check_ids(ids, self.size), []
        for size in reversed(self.sizes):
            found.append(rest % size)
            rest = rest // size
        return torch.stack(found[::-1], dim=-1)

    def units(self, codes: Tensor) -> Tensor:
        """The inverse of `codes`."""
        total = torch.zeros_like(codes[..., 0])
        for g, size in enumerate(self.sizes):
            total = total * size + codes[..., g]
        return total

    def check_width(self, frames: Tensor) -> None:
        """DataError for frames of other channels."""
        if frames.shape[-1:] != (self.dim,):
            raise DataError(f"frames of shape {list(frames.shape)} do not fit codebooks of {self.dim} channels")


def same_dim(codebooks: Sequence[Any]) -> None:
    """CheckpointError unless all have the same channels."""
    if len({book.dim for book in codebooks}) > 1:
        raise CheckpointError(f"codebooks of {[book.dim for book in codebooks]} channels do not belong together")
