"""Product quantization with Gumbel softmax, of vq-wav2vec (arXiv:1910.05453) and wav2vec 2.0 (arXiv:2006.11477).

Frames give logits, one entry per codebook is chosen, the chosen vectors stand side by side. In training the choice is
drawn with Gumbel noise and its gradient is that of the softmax at temperature τ (straight through); otherwise it is
the largest logit.

N frames, C channels, G codebooks of V entries each, D channels of the result.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Quantized:
    """What became of N frames."""

    vectors: Tensor  # [N, D]
    codes: Tensor  # [N, G] int64
    probabilities: Tensor  # [G, V] float32: softmax of the logits without noise, the mean over frames


class GumbelQuantizer(nn.Module):
    """Logits by a linear layer (`depth` 1) or by a small network, and the codebooks [G, V, D / G].

    shared: one codebook for all groups (vq-wav2vec's combine_groups).
    """

    def __init__(
        self, in_dim: int, out_dim: int, *, entries: int = 320, groups: int = 2, depth: int = 1, factor: int = 3,
        shared: bool = False, activation: type[nn.Module] = nn.GELU,
    ) -> None:  # fmt: skip
        super().__init__()
        if out_dim % groups or entries < 2 or depth < 1:
            raise ConfigError(f"{groups} codebooks of {entries} entries cannot share {out_dim} channels evenly")
        self.entries, self.groups = entries, groups
        widths = [in_dim, *[in_dim * factor] * (depth - 1)]
        self.hidden = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), activation()) for a, b in pairwise(widths)))
        self.logits = nn.Linear(widths[-1], groups * entries)
        self.codebook = nn.Parameter(torch.empty(1 if shared else groups, entries, out_dim // groups))
        self.temperature = 2.0
        self.draw_weights()

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator | None = None) -> None:
        """As in the released code: a single layer's logits start far apart, a network's near each other."""
        linears = [layer[0] for layer in self.hidden] + [self.logits]
        for linear in linears:
            linear.weight.normal_(0, 1 if len(linears) == 1 else (3 * linear.in_features) ** -0.5, generator=generator)
            linear.bias.zero_()
        self.codebook.uniform_(generator=generator)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Quantized:
        """Quantize x [N, C]; `noise` [N, G, V] is Gumbel noise for a draw, None takes the largest logit."""
        logits = self.logits(self.hidden(x)).unflatten(-1, (self.groups, self.entries)).float()
        probabilities = logits.softmax(-1).mean(0) if len(x) else logits.new_zeros(self.groups, self.entries)
        codes = (logits if noise is None else logits + noise).argmax(-1)
        chosen = F.one_hot(codes, self.entries).to(logits.dtype)
        if noise is not None:
            soft = ((logits + noise) / self.temperature).softmax(-1)
            chosen = chosen + (soft - soft.detach())  # exactly the hard choice in value
        codebook = self.codebook.float().expand(self.groups, -1, -1)
        vectors = torch.einsum("ngv,gvd->ngd", chosen, codebook).flatten(1)
        return Quantized(vectors.to(x.dtype), codes, probabilities)

    def encode(self, x: Tensor) -> Tensor:
        """Codes [N, G] of frames [N, C], without noise."""
        return self.logits(self.hidden(x)).unflatten(-1, (self.groups, self.entries)).argmax(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Vectors [N, D] of codes [N, G]."""
        codebook = self.codebook.expand(self.groups, -1, -1)
        return torch.cat([codebook[group][codes[:, group]] for group in range(self.groups)], -1)


def diversity(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Unused share of the codebooks, (GV - perplexity) / GV, and the perplexity, the sum of exp(entropy), of p [G, V].

    The form of the diversity loss that the released code of wav2vec 2.0 minimises; eq. (4) has the entropy itself.
    """
    entropy = -torch.special.xlogy(probabilities, probabilities + 1e-7).sum(-1)
    perplexity = entropy.exp().sum()
    return (probabilities.numel() - perplexity) / probabilities.numel(), perplexity


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """-log(-log(u)) of uniform u, float32 on the generator's device."""
    return -torch.empty(shape, device=generator.device).exponential_(generator=generator).log()
