"""A quantizer that is a small network: fully connected layers, and the unit with the largest output.

"Augmentation Invariant Discrete Representation for Generative Spoken Language Modeling" (Gat et al., arXiv:2209.15483)
has one in place of k-means. Learned by the objective `augmentation_invariant`.

N frames, C channels, V units.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.errors import CheckpointError, ConfigError
from speechssl.quantizers._checks import check_frames, same_names

SLOPE = 0.01  # of the leaky ReLU between layers


class MLP:
    """Layers of weight [out, in] and bias [out], float32, with leaky ReLUs between them. No codebook."""

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.layers = tuple((w.detach().float().contiguous(), b.detach().float().contiguous()) for w, b in layers)
        shapes = [tuple(w.shape) for w, _ in self.layers]
        fits = all(len(s) == 2 and b.shape == w.shape[:1] for s, (w, b) in zip(shapes, self.layers, strict=True))
        if not (shapes and fits and all(a[0] == b[1] for a, b in pairwise(shapes))):
            raise CheckpointError(f"layers of shapes {shapes} are no network")
        if not all(bool(part.isfinite().all()) for layer in self.layers for part in layer) or 0 in shapes[0]:
            raise CheckpointError("a network needs finite weights")

    @property
    def size(self) -> int:
        """V."""
        return self.layers[-1][0].shape[0]

    @property
    def dim(self) -> int:
        """C."""
        return self.layers[0][0].shape[1]

    def tensors(self) -> dict[str, Tensor]:
        """`{"weight.0": [H, C], "bias.0": [H], ...}`."""
        return {f"{name}.{i}": part for i, layer in enumerate(self.layers)
                for name, part in zip(("weight", "bias"), layer, strict=True)}  # fmt: skip

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "MLP":
        """The inverse of `tensors`; CheckpointError for other names or shapes."""
        count = max(1, len(tensors) // 2)
        same_names(tensors, {f"{name}.{i}" for i in range(count) for name in ("weight", "bias")})
        return cls([(tensors[f"weight.{i}"], tensors[f"bias.{i}"]) for i in range(count)])

    def logits(self, frames: Tensor) -> Tensor:
        """[..., V] float64 of frames [..., C]."""
        x = check_frames(frames, self.dim).double()
        for i, (weight, bias) in enumerate(self.layers):
            x = F.linear(F.leaky_relu(x, SLOPE) if i else x, weight.to(x), bias.to(x))
        return x

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """Ids [...] int64 of frames [..., C], in float64, so that batches change nothing. DataError for NaN."""
        return self.logits(frames).argmax(-1)

    def decode(self, ids: Tensor) -> Tensor:
        """Raises ConfigError: a network's units stand for no frame."""
        raise ConfigError("units of a network have no codebook: no frame stands for them")
