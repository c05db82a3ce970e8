"""Product quantization (Jégou, Douze & Schmid, IEEE TPAMI 33, 2011): channels in groups, a k-means for each.

Two codebooks of 32 entries give 1,024 units for the price of 64 centroids. Learned by `joint_fit`.
"""

import torch
from torch import Tensor

from speechssl.quantizers._joint import Joint


class Product(Joint):
    """The first codebook is of the first channels, and so on."""

    @property
    def dim(self) -> int:
        """C, of all groups together."""
        return sum(book.dim for book in self.codebooks)

    def encode(self, frames: Tensor) -> Tensor:
        """Units [...] int64 of frames [..., C]."""
        self.check_width(frames)
        parts = frames.split([book.dim for book in self.codebooks], dim=-1)
        codes = [book.encode(part) for book, part in zip(self.codebooks, parts, strict=True)]
        return self.units(torch.stack(codes, dim=-1))

    def decode(self, ids: Tensor) -> Tensor:
        """Frames [..., C] float32 for units [...]: each group's entry."""
        parts = zip(self.codebooks, self.codes(ids).unbind(-1), strict=True)
        return torch.cat([book.decode(codes) for book, codes in parts], dim=-1)
