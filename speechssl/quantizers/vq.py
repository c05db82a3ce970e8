"""Online k-means with codebooks as parameters, of VQ-VAE (arXiv:1711.00937) and vq-wav2vec (arXiv:1910.05453).

Each group of channels takes the entry of its codebook that is nearest. Gradients of what comes out go straight through
to what went in; the codebook learns from `quantization_loss` alone.

N frames, C channels, G codebooks of V entries each.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Chosen:
    """What became of N frames."""

    vectors: Tensor  # [N, C] entries, with the gradient of the input
    entries: Tensor  # [N, C] the same, with the gradient of the codebook
    codes: Tensor  # [N, G] int64


class VectorQuantizer(nn.Module):
    """Codebooks [G, V, C / G]; shared: one for all groups."""

    def __init__(self, dim: int, *, entries: int = 320, groups: int = 2, shared: bool = False) -> None:
        super().__init__()
        if dim % groups or entries < 2:
            raise ConfigError(f"{groups} codebooks of {entries} entries cannot share {dim} channels evenly")
        self.dim, self.entries, self.groups = dim, entries, groups
        self.codebook = nn.Parameter(torch.empty(1 if shared else groups, entries, dim // groups))
        self.draw_weights()

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator | None = None) -> None:
        """Entries near zero, as in the released code: normal with standard deviation 0.01."""
        self.codebook.normal_(0, 0.01, generator=generator)

    def forward(self, x: Tensor) -> Chosen:
        """Quantize x [N, C]."""
        codes = self.encode(x)
        entries = self.decode(codes).to(x.dtype)
        return Chosen(entries.detach() + (x - x.detach()), entries, codes)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Codes [N, G] of frames [N, C]: the nearest entries, ties to the lower one."""
        parts = x.unflatten(-1, (self.groups, -1)).transpose(0, 1)  # [G, N, C / G]
        codebook = self.codebook.to(parts.dtype)
        distances = codebook.square().sum(-1).unsqueeze(1) - 2 * parts @ codebook.transpose(1, 2)
        return distances.argmin(-1).T

    def decode(self, codes: Tensor) -> Tensor:
        """Vectors [N, C] of codes [N, G]."""
        codebook = self.codebook.expand(self.groups, -1, -1)
        return torch.cat([codebook[group][codes[:, group]] for group in range(self.groups)], -1)


def quantization_loss(x: Tensor, entries: Tensor, gamma: float) -> Tensor:
    """|sg(z) - e|^2 + γ |z - sg(e)|^2 of frames and their entries [N, C] (eq. (3) of arXiv:1910.05453), summed over N.

    differs: the mean over channels, as in the released code, where the paper has the sum.
    """
    codebook = (x.detach() - entries).float().square().mean(-1).sum()
    commitment = (x - entries.detach()).float().square().mean(-1).sum()
    return codebook + gamma * commitment
