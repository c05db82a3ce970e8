"""Product quantization with Gumbel softmax, of vq-wav2vec (arXiv:1910.05453) and wav2vec 2.0 (arXiv:2006.11477).

Frames give logits, one entry per codebook is chosen, the chosen vectors stand side by side. In training the choice is
drawn with Gumbel noise and its gradient is that of the softmax at temperature τ (straight through); otherwise it is
the largest logit.

Codebooks that were trained so give units of a corpus, too: `GumbelCodebooks`.

N frames, C channels, G codebooks of V entries each, D channels of the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import CheckpointError, ConfigError, DataError

_MOST_UNITS = 1 << 24  # as a unit model's card has it
_BLOCK = 4096  # frames whose logits are held at once


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


class GumbelCodebooks:
    """Trained codebooks as a unit model's quantizer: the largest logit of each group, as `GumbelQuantizer` chooses.

    Without noise, that is. A unit is what all groups say together, the last as the lowest digit.

    weight [G V, C] and bias [G V] give the logits, codebook [G or 1, V, D / G]: one for all groups where there is one.
    Logits are computed in float64, so that neither the batch nor the device matters.
    """

    def __init__(self, weight: Tensor, bias: Tensor, codebook: Tensor) -> None:
        shapes = f"weight {list(weight.shape)}, bias {list(bias.shape)}, codebook {list(codebook.shape)}"
        fits = weight.ndim == 2 and codebook.ndim == 3 and 0 not in (*weight.shape, *codebook.shape)
        if not fits or bias.shape != weight.shape[:1] or len(weight) % codebook.shape[1]:
            raise CheckpointError(f"no Gumbel quantizer has {shapes}")
        self.entries, self.groups = codebook.shape[1], len(weight) // codebook.shape[1]
        if len(codebook) not in (1, self.groups) or self.groups > 64 or self.size > _MOST_UNITS:
            raise CheckpointError(f"{shapes}: codebooks for all {self.groups} groups or one for all are needed, and no "
                                  f"more than {_MOST_UNITS} units")  # fmt: skip
        held = {"weight": weight, "bias": bias, "codebook": codebook}
        self._held = {name: tensor.detach().to(torch.float32).contiguous() for name, tensor in held.items()}
        for name, tensor in self._held.items():
            if not bool(tensor.isfinite().all()):
                raise CheckpointError(f"a Gumbel quantizer's {name} contains NaN or infinity")

    @property
    def size(self) -> int:
        """The number of units, V^G."""
        return self.entries**self.groups

    @property
    def dim(self) -> int:
        """C, the channels of a frame."""
        return self._held["weight"].shape[1]

    def tensors(self) -> dict[str, Tensor]:
        """The constructor's arguments by name."""
        return dict(self._held)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "GumbelCodebooks":
        """The inverse of `tensors`; CheckpointError for other names or shapes."""
        if set(tensors) != {"weight", "bias", "codebook"}:
            raise CheckpointError(f"a Gumbel quantizer holds weight, bias and codebook, found {sorted(tensors)}")
        return cls(tensors["weight"], tensors["bias"], tensors["codebook"])

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """Units [...] int64 of frames [..., C], on the device of the frames. DataError for NaN or infinity."""
        if frames.shape[-1:] != (self.dim,):
            raise DataError(f"frames of shape {list(frames.shape)} do not fit codebooks of {self.dim} channels")
        rows = frames.reshape(-1, self.dim)
        if not bool(rows.isfinite().all()):
            raise DataError("frames contain NaN or infinity, which choose nothing")
        weight, bias = (self._held[name].to(rows.device).double() for name in ("weight", "bias"))
        with torch.autocast(rows.device.type, enabled=False):
            parts = [
                torch.addmm(bias, part.double(), weight.T).unflatten(-1, (self.groups, -1)).argmax(-1)
                for part in rows.split(_BLOCK)
            ]
        codes = torch.cat(parts)
        units = codes.new_zeros(len(codes))
        for column in codes.T:
            units = units * self.entries + column
        return units.view(frames.shape[:-1])

    def codes(self, ids: Tensor) -> Tensor:
        """The entry of each group, [..., G] int64, of units [...]. DataError for units that do not exist."""
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.size):
            raise DataError(f"unit ids must lie in 0..{self.size - 1}, found {int(ids.min())}..{int(ids.max())}")
        places = torch.tensor([self.entries**g for g in reversed(range(self.groups))], device=ids.device)
        return ids.long().unsqueeze(-1) // places % self.entries

    def decode(self, ids: Tensor) -> Tensor:
        """The codebooks' vectors [..., D] float32 for units [...], side by side, on the device of the ids.

        No frames: these codebooks live in a space of their own, into which nothing maps a frame.
        """
        codebook = self._held["codebook"].to(ids.device).expand(self.groups, -1, -1)
        chosen = self.codes(ids)
        return torch.cat([codebook[group][chosen[..., group]] for group in range(self.groups)], -1)
