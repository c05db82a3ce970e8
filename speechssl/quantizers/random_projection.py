"""BEST-RQ's quantizer (arXiv:2202.01855, section 3.1): a random projection and a random codebook, never trained.

N frames, C channels, D dimensions of the code space, V codes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError


class RandomProjectionQuantizer(nn.Module):
    """Two buffers drawn from `seed` and kept in the state dict: projection [C, D] and codebook [V, D].

    The projection is Xavier uniform, the codebook standard normal, then l2-normalised. The input should have zero mean
    and unit variance per channel: without, few codes are ever chosen (the paper's section 3.1).
    """

    projection: Tensor
    codebook: Tensor

    def __init__(self, in_dim: int, *, entries: int = 8192, dim: int = 16, seed: int = 0) -> None:
        super().__init__()
        if min(in_dim, dim) < 1 or entries < 2:
            raise ConfigError(f"a random quantizer needs in_dim, dim >= 1 and entries >= 2, got {in_dim, dim, entries}")
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("projection", nn.init.xavier_uniform_(torch.empty(in_dim, dim), generator=generator))
        self.register_buffer("codebook", F.normalize(torch.randn(entries, dim, generator=generator), dim=-1))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Eq. (1): the nearest code of each frame [..., C] after l2-normalising its projection, [...] int64."""
        # of vectors of length 1 the nearest is the one with the largest product, whatever the length of the other
        return (x.to(self.projection.dtype) @ self.projection @ self.codebook.T).argmax(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codebook vectors [N, D] of codes [N]."""
        return self.codebook[codes]
