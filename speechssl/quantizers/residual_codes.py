"""Residual vector quantization of a codec: the entry of each codebook by itself, for however many codebooks.

The same codes as of `residual`, whose units are one number and end at 24 bits.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from speechssl.errors import CheckpointError, DataError
from speechssl.quantizers._joint import same_dim
from speechssl.quantizers.kmeans import KMeans


class ResidualCodes:
    """G codebooks of V entries and C channels, the coarsest first."""

    def __init__(self, codebooks: Sequence[KMeans]) -> None:
        self.codebooks = tuple(codebooks)
        if not self.codebooks:
            raise CheckpointError("at least one codebook is needed")
        same_dim(codebooks)

    @property
    def size(self) -> int:
        """Codes are below this: the entries of the largest codebook."""
        return max(book.size for book in self.codebooks)

    @property
    def dim(self) -> int:
        """C."""
        return self.codebooks[0].dim

    def encode(self, frames: Tensor) -> Tensor:
        """Codes [..., G] int64 of frames [..., C]. DataError for NaN, infinity or another number of channels."""
        left, codes = frames if frames.dtype == torch.float64 else frames.float(), []
        for book in self.codebooks:
            codes.append(book.encode(left))
            left = left - book.decode(codes[-1])
        return torch.stack(codes, dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Frames [..., C] float32 of codes [..., n] of the first n codebooks: the sum of their entries."""
        if not 1 <= codes.shape[-1] <= len(self.codebooks):
            raise DataError(f"expected codes of 1 to {len(self.codebooks)} codebooks, got {codes.shape[-1]}")
        parts = zip(self.codebooks, codes.unbind(-1), strict=False)
        return torch.stack([book.decode(one) for book, one in parts]).sum(0)

    def tensors(self) -> dict[str, Tensor]:
        """`{"centroids.0": [V, C], ...}`, as of `residual`."""
        return {f"centroids.{g}": book.centroids for g, book in enumerate(self.codebooks)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ResidualCodes":
        """The inverse of `tensors`; CheckpointError for other names or shapes."""
        names = [f"centroids.{g}" for g in range(len(tensors))]
        if set(tensors) != set(names):
            raise CheckpointError(f"expected centroids.0, centroids.1 ..., found {sorted(tensors)}")
        return cls([KMeans(tensors[name]) for name in names])
