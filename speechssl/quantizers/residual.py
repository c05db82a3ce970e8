"""Residual vector quantization (Juang & Gray, ICASSP 1982): each codebook quantizes what those before it left.

A frame goes to the first codebook's nearest entry, the difference to the second's, and so on; greedy, as everywhere in
the field, so the sum of entries is not always the nearest of all sums. Learned by `joint_fit`.
"""

import torch
from torch import Tensor

from speechssl.quantizers._joint import Joint, same_dim
from speechssl.quantizers.kmeans import KMeans


class Residual(Joint):
    """Codebooks of the same channels, the coarsest first."""

    def __init__(self, codebooks: "list[KMeans] | tuple[KMeans, ...]") -> None:
        super().__init__(codebooks)
        same_dim(codebooks)

    @property
    def dim(self) -> int:
        """C."""
        return self.codebooks[0].dim

    def encode(self, frames: Tensor) -> Tensor:
        """Units [...] int64 of frames [..., C]."""
        self.check_width(frames)
        left, codes = frames if frames.dtype == torch.float64 else frames.float(), []
        for book in self.codebooks:
            codes.append(book.encode(left))
            left = left - book.decode(codes[-1])
        return self.units(torch.stack(codes, dim=-1))

    def decode(self, ids: Tensor) -> Tensor:
        """Frames [..., C] float32 for units [...]: the sum of the entries."""
        parts = zip(self.codebooks, self.codes(ids).unbind(-1), strict=True)
        return torch.stack([book.decode(codes) for book, codes in parts]).sum(0)
