"""Units as a trained network predicts them: the code that a projected frame points to, as HuBERT's head has them.

Learned by the objective `hubert`. The projection is also what "A Comparison of Discrete and Soft Speech Units" (van
Niekerk et al., arXiv:2111.02392) calls soft units: before a code is chosen, what the network was unsure of is kept.

N frames, C channels, D dimensions of the code space, V units.
"""

from collections.abc import Mapping
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.errors import CheckpointError
from speechssl.quantizers._checks import check_frames, check_ids, same_names

_NAMES = {"weight", "bias", "codes", "temperature"}
_NORM = {"norm_weight", "norm_bias"}
_EPS = 1e-5  # of the layer norm, as in every pre-norm encoder here


class Cosine:
    """Projection weight [D, C] and bias [D], codes [V, D], temperature []; float32.

    norm: weight and bias [C] of a layer norm before the projection, for encoders whose layers are not normalised.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        codes: Tensor,
        temperature: Tensor,
        norm: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        shapes = weight.ndim == 2 and codes.ndim == 2 and bias.shape == weight.shape[:1] == codes.shape[1:]
        fits = norm is None or all(part.shape == weight.shape[1:] for part in norm)
        if not (shapes and fits and temperature.ndim == 0 and weight.numel() and codes.numel()):
            raise CheckpointError(f"projection {list(weight.shape)}, bias {list(bias.shape)} and codes "
                                  f"{list(codes.shape)} do not belong together")  # fmt: skip
        parts = (weight, bias, codes, temperature, *(norm or ()))
        weight, bias, codes, temperature, *rest = (p.detach().float().contiguous() for p in parts)
        if not all(bool(part.isfinite().all()) for part in parts) or temperature <= 0:
            raise CheckpointError("a prediction head needs finite weights and a temperature above 0")
        self.weight, self.bias, self.codes, self.temperature = weight, bias, codes, temperature
        self.norm = (rest[0], rest[1]) if rest else None

    @property
    def size(self) -> int:
        """V."""
        return self.codes.shape[0]

    @property
    def dim(self) -> int:
        """C."""
        return self.weight.shape[1]

    def tensors(self) -> dict[str, Tensor]:
        """By name, with those of the norm where there is one."""
        found = {"weight": self.weight, "bias": self.bias, "codes": self.codes, "temperature": self.temperature}
        return found if self.norm is None else found | {"norm_weight": self.norm[0], "norm_bias": self.norm[1]}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "Cosine":
        """The inverse of `tensors`; CheckpointError for other names or shapes."""
        same_names(tensors, _NAMES | (_NORM & set(tensors) and _NORM))
        norm = (tensors["norm_weight"], tensors["norm_bias"]) if "norm_weight" in tensors else None
        return cls(tensors["weight"], tensors["bias"], tensors["codes"], tensors["temperature"], norm)

    def soft(self, frames: Tensor) -> Tensor:
        """Soft units [..., D] float32 of frames [..., C]: their projection. DataError for other channels, NaN."""
        return self._project(frames).float()

    def posteriors(self, frames: Tensor) -> Tensor:
        """The distribution over units [..., V] float32 of frames [..., C]: eq. (3) of arXiv:2106.07447."""
        return (self._cosines(frames) / self.temperature.to(frames.device).double()).softmax(-1).float()

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """Ids [...] int64 of frames [..., C]: the most likely unit, in float64, so that batches change nothing."""
        return self._cosines(frames).argmax(-1)

    def decode(self, ids: Tensor) -> Tensor:
        """Frames [..., C] float32 for ids [...]: the smallest ones, behind any norm, whose projection is the code."""
        return self._frames.to(ids.device)[check_ids(ids, self.size)]

    @cached_property
    def _frames(self) -> Tensor:
        return ((self.codes.double() - self.bias.double()) @ torch.linalg.pinv(self.weight.double()).T).float()

    def _project(self, frames: Tensor) -> Tensor:
        x = check_frames(frames, self.dim).double()
        weight, bias, *norm = (p.to(x) for p in (self.weight, self.bias, *(self.norm or ())))
        if norm:
            x = F.layer_norm(x, (self.dim,), norm[0], norm[1], _EPS)
        return F.linear(x, weight, bias)

    def _cosines(self, frames: Tensor) -> Tensor:
        projected = F.normalize(self._project(frames), dim=-1)
        return projected @ F.normalize(self.codes.to(projected), dim=-1).T
