"""Finite scalar quantization (arXiv:2309.15505): each of a few channels is bounded and rounded to one of its levels.

There is no codebook to learn, so none of it dies: the codes are the points of a grid, and what comes before learns to
use them. Levels of 8, 5, 5 and 5 make 1,000 units. `FSQ` is the quantizer of a network, as in the paper; `ProjectedFSQ`
brings frames of an encoder that never heard of it onto the grid, which the paper does not do; see `fsq_fit`.

N frames, C channels, d scalars of L_1 .. L_d levels, V = L_1 .. L_d units with the first scalar as the lowest digit, as
in the paper's listing.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from speechssl.errors import CheckpointError, ConfigError, DataError

_EPS = 1e-3  # the bound stays so much within the outermost levels
_MOST_LEVELS = 256  # of a scalar: with a thousand, _EPS would put the outermost ones out of reach
_MOST_UNITS = 1 << 24  # as a unit model's card has it
_BLOCK = 16384  # frames


class FSQ(nn.Module):
    """Scalars [..., d] to the grid; nothing in it is learned, and its state dict is empty.

    Levels are 3 or more: of two, the bound below has no zero to keep in its place.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(int(level) for level in levels)
        if not self.levels or not all(3 <= level <= _MOST_LEVELS for level in self.levels):
            raise ConfigError(f"FSQ needs levels of 3..{_MOST_LEVELS} for one scalar or more, got {list(levels)}")
        if self.size > 2**62:
            raise ConfigError(f"levels {list(levels)} make {self.size} units, which are no 64-bit integers any more")
        places = [math.prod(self.levels[:i]) for i in range(self.dim)]
        self.register_buffer("_counts", torch.tensor(self.levels), persistent=False)
        self.register_buffer("_places", torch.tensor(places), persistent=False)

    @property
    def size(self) -> int:
        """V, the number of units."""
        return math.prod(self.levels)

    @property
    def dim(self) -> int:
        """d, the number of scalars."""
        return len(self.levels)

    def bound(self, z: Tensor) -> Tensor:
        """z [..., d] to where rounding gives -(L // 2) .. (L - 1) // 2; zero stays zero.

        differs: the paper's listing moves an even number of levels by tan where only artanh, the inverse of the tanh
        around it, keeps zero at zero; libraries do as here.
        """
        counts = self._counts.to(z.dtype)
        half = (counts - 1) * (1 - _EPS) / 2
        offset = (1 - counts % 2) / 2  # an even number of levels lies half a step below
        return (z + (offset / half).atanh()).tanh() * half - offset

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [..., d] in -1..1 for z [..., d], in its dtype, and their ids [...] int64.

        Gradients pass the rounding as if it were not there (straight through) and are those of the bound. Computed in
        float32 or wider, also within autocast. Ids of NaN mean nothing.
        """
        with torch.autocast(z.device.type, enabled=False):
            bounded = self.bound(z if z.dtype == torch.float64 else z.float())
            steps = bounded.detach().round()
            codes = (steps + (bounded - bounded.detach())) / self._widths(bounded.dtype)  # exactly the grid in value
            return codes.to(z.dtype), self._ids(steps)

    def encode(self, z: Tensor) -> Tensor:
        """Ids [...] int64 of z [..., d]."""
        with torch.no_grad():
            return self(z)[1]

    def digits(self, ids: Tensor) -> Tensor:
        """The level of each scalar, [..., d] int64 from 0, of ids [...]. DataError for ids that do not exist."""
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.size):
            raise DataError(f"unit ids must lie in 0..{self.size - 1}, found {int(ids.min())}..{int(ids.max())}")
        return ids.long().unsqueeze(-1) // self._places % self._counts

    def decode(self, ids: Tensor) -> Tensor:
        """Codes [..., d] float32 in -1..1 of ids [...]. DataError for ids that do not exist."""
        return (self.digits(ids) - self._counts // 2).float() / self._widths(torch.float32)

    def _ids(self, steps: Tensor) -> Tensor:
        return ((steps.long() + self._counts // 2) * self._places).sum(-1)

    def _widths(self, dtype: torch.dtype) -> Tensor:
        return (self._counts // 2).to(dtype)


def inverse_bound(steps: Tensor, levels: int) -> Tensor:
    """Where `FSQ.bound` of one scalar with so many levels gives `steps`, between -(L // 2) and (L - 1) // 2."""
    half, offset = (levels - 1) * (1 - _EPS) / 2, (1 - levels % 2) / 2
    return ((steps + offset) / half).atanh() - math.atanh(offset / half)


class ProjectedFSQ:
    """A unit model's quantizer: frames [..., C] go to d scalars by a linear map, and these to the grid.

    levels [d] int64, mean [C], projection [C, d], shift [d]: z = (x - mean) projection + shift. The way back: values
    [L_1 + .. + L_d], what each level of each scalar stands for, and basis [d, C]: x = values basis + mean. Ids are
    computed in float64, so that neither the batch nor the device matters.
    """

    def __init__(
        self, levels: Tensor, mean: Tensor, projection: Tensor, shift: Tensor, values: Tensor, basis: Tensor
    ) -> None:
        if levels.ndim != 1 or levels.is_floating_point() or len(levels) > 64:
            raise CheckpointError(f"FSQ's levels must be a list of integers, got {list(levels.shape)} {levels.dtype}")
        try:
            self.fsq = FSQ(levels.tolist())
        except ConfigError as error:
            raise CheckpointError(str(error)) from error
        if self.fsq.size > _MOST_UNITS:
            raise CheckpointError(f"levels {levels.tolist()} make {self.fsq.size} units, more than {_MOST_UNITS}")
        d, c = self.fsq.dim, mean.shape[0] if mean.ndim == 1 else 0
        held = {"mean": mean, "projection": projection, "shift": shift, "values": values, "basis": basis}
        shapes = {"mean": (c,), "projection": (c, d), "shift": (d,), "values": (sum(self.fsq.levels),), "basis": (d, c)}
        for name, tensor in held.items():
            if not c or tensor.shape != shapes[name]:
                raise CheckpointError(f"FSQ of {d} scalars: {name} of shape {list(tensor.shape)} does not fit")
            if not bool(torch.isfinite(tensor.float()).all()):
                raise CheckpointError(f"FSQ's {name} contains NaN or infinity")
        self._held = {name: tensor.detach().to(torch.float32).contiguous() for name, tensor in held.items()}

    @property
    def size(self) -> int:
        """V, the number of units."""
        return self.fsq.size

    @property
    def dim(self) -> int:
        """C, the channels of a frame."""
        return len(self._held["mean"])

    def tensors(self) -> dict[str, Tensor]:
        """The constructor's arguments by name."""
        return {"levels": torch.tensor(self.fsq.levels), **self._held}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ProjectedFSQ":
        """The inverse of `tensors`; CheckpointError for other names or shapes."""
        names = ("levels", "mean", "projection", "shift", "values", "basis")
        if set(tensors) != set(names):
            raise CheckpointError(f"FSQ of frames holds exactly {', '.join(names)}, found {sorted(tensors)}")
        return cls(**{name: tensors[name] for name in names})

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """Ids [...] int64 of frames [..., C], on the device of the frames. DataError for NaN or infinity."""
        if frames.shape[-1:] != (self.dim,):
            raise DataError(f"frames of shape {list(frames.shape)} do not fit FSQ of {self.dim} channels")
        rows = frames.reshape(-1, self.dim)
        ids = [self._encode(block) for block in rows.split(_BLOCK)]
        return torch.cat(ids).view(frames.shape[:-1]) if ids else rows.new_zeros(frames.shape[:-1], dtype=torch.int64)

    def _encode(self, rows: Tensor) -> Tensor:
        held = {name: tensor.to(rows.device).double() for name, tensor in self._held.items()}
        with torch.autocast(rows.device.type, enabled=False):
            z = (rows.double() - held["mean"]) @ held["projection"] + held["shift"]
        if not bool(rows.isfinite().all()):
            raise DataError("frames contain NaN or infinity, which have no place on the grid")
        return self.fsq.to(rows.device).encode(z)

    def codes(self, ids: Tensor) -> Tensor:
        """The level of each scalar, [..., d] int64 from 0, of ids [...]."""
        return self.fsq.to(ids.device).digits(ids)

    def decode(self, ids: Tensor) -> Tensor:
        """Frames [..., C] float32 for ids [...], on the device of the ids: what the levels stand for."""
        starts = torch.tensor([sum(self.fsq.levels[:i]) for i in range(self.fsq.dim)], device=ids.device)
        values, basis, mean = (self._held[name].to(ids.device) for name in ("values", "basis", "mean"))
        return values[self.codes(ids) + starts] @ basis + mean
