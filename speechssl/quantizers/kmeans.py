"""k-means codebook: the nearest centroid in Euclidean distance. Learned by `kmeans_fit`.

N frames, C channels, V units. The ids are a function of the frame alone: whatever the batch, the number of threads, the
device or the processor, `encode` returns the argmin of float64 distances, where distances closer than 2^-40 of their
scale count as ties and ties go to the lower id.

Speed comes from cheap scores with a proven bound on their error; only rows that the bound leaves open are decided again
in float64. Products of bytes where the processor has them (`kmeans_int8`); one float32 GEMM per block elsewhere: scores
s = b - x·(c - m), m the mean centroid and b = ||c||²/2 less its mean, rank like ||x - c||² and are off by about
C u |x| |c - m| (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from speechssl.errors import CheckpointError, DataError
from speechssl.quantizers import kmeans_int8
from speechssl.quantizers._checks import check_ids
from speechssl.quantizers.kmeans_int8 import Codebook, Codes, Exact

_SCORES_PER_BLOCK = 1 << 21  # 8 MiB of float32 scores: measured best from 2 to 16 MiB
_EXACTLY_AT_ONCE = 2048  # rows in float64
_ROUNDING = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}  # per product, by torch's matmul precision


@dataclass(frozen=True)
class _Prepared:
    """What a float32 GEMM on a device needs."""

    weight: Tensor  # -(c - m) transposed [C, V] float32
    bias: Tensor  # b [V] float32
    packed: Tensor | None  # weight in oneDNN's own layout, where there is oneDNN
    exact: Exact  # its radius and bias_max are the scale of the rounding error, too


class KMeans:
    """A codebook of centroids [V, C], float32."""

    def __init__(self, centroids: Tensor) -> None:
        if centroids.ndim != 2 or 0 in centroids.shape:
            raise CheckpointError(f"k-means centroids must be a [units, channels] matrix, got {list(centroids.shape)}")
        self.centroids = centroids.detach().to(torch.float32).contiguous()
        if not bool(torch.isfinite(self.centroids).all()):
            raise CheckpointError("k-means centroids contain NaN or infinity (as float32)")
        self._prepared: dict[torch.device, _Prepared] = {}

    @property
    def size(self) -> int:
        """V, the number of units."""
        return self.centroids.shape[0]

    @property
    def dim(self) -> int:
        """C, the channels of a frame."""
        return self.centroids.shape[1]

    def tensors(self) -> dict[str, Tensor]:
        """`{"centroids": [V, C]}`."""
        return {"centroids": self.centroids}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "KMeans":
        """The inverse of `tensors`; CheckpointError for other names or shapes."""
        if set(tensors) != {"centroids"}:
            raise CheckpointError(f"a k-means codebook holds exactly `centroids`, found {sorted(tensors)}")
        return cls(tensors["centroids"])

    def decode(self, ids: Tensor) -> Tensor:
        """Centroids [..., C] float32 for ids [...], on the device of the ids."""
        return self.centroids.to(ids.device)[check_ids(ids, self.size)]

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """Ids [...] int64 of frames [..., C], on the device of the frames. DataError for NaN or infinity."""
        if frames.shape[-1:] != (self.dim,):
            raise DataError(f"frames of shape {list(frames.shape)} do not fit a codebook of {self.dim} channels")
        rows = frames.reshape(-1, self.dim)
        rows = rows if rows.dtype == torch.float64 else rows.float()
        with torch.autocast(frames.device.type, enabled=False):
            if rows.device.type == "cpu" and rows.dtype == torch.float32 and self.by_bytes:
                step = kmeans_int8.block(self.size)
                parts = [self._by_bytes(block, kmeans_int8.encode(block, self._bytes.centre), self._bytes)
                         for block in rows.split(step)]  # fmt: skip
            else:
                parts = [_nearest(rows, self._on(rows.device))]
        return torch.cat(parts).view(frames.shape[:-1])

    @property
    def by_bytes(self) -> bool:
        """Whether `kmeans_int8` serves this codebook on this machine's CPU."""
        return kmeans_int8.worthwhile(self.size, self.dim)

    def encode_coded(self, rows: Tensor, codes: Codes, book: Codebook) -> Tensor:
        """As `encode`, for rows [N, C] float32 whose codes are there already; `book` is of `codebook(centre)`."""
        step = kmeans_int8.block(self.size)
        parts = [self._by_bytes(rows[i : i + step], codes[i : i + step], book) for i in range(0, len(rows), step)]
        return torch.cat(parts)

    def codebook(self, centre: Tensor) -> Codebook:
        """The centroids as `kmeans_int8` wants them, for rows encoded about this centre [C]."""
        return kmeans_int8.prepare(self.centroids.cpu(), self._exact, centre)

    def _by_bytes(self, rows: Tensor, codes: Codes, book: Codebook) -> Tensor:
        ids, undecided = kmeans_int8.nearest(rows, codes, book)
        if len(undecided):
            ids[undecided] = _nearest(rows[undecided], self._on(rows.device))
        return ids

    @cached_property
    def _bytes(self) -> Codebook:
        return self.codebook(self.centroids.cpu().mean(0))

    @cached_property
    def _exact(self) -> Exact:
        """On the CPU."""
        wide = self.centroids.cpu().double()
        bias = wide.square().sum(1) / 2
        bias -= bias.mean()
        minus = wide.mean(0) - wide
        return Exact(minus, bias, float(minus.norm(dim=1).max()), float(bias.abs().max()))

    def _on(self, device: torch.device) -> _Prepared:
        if device not in self._prepared:
            exact = self._exact
            there = Exact(exact.minus.to(device), exact.bias.to(device), exact.radius, exact.bias_max)
            weight = there.minus.T.float().contiguous()
            self._prepared[device] = _Prepared(weight, there.bias.float(), _packed(weight), there)
        return self._prepared[device]


def _packed(weight: Tensor) -> Tensor | None:
    """torch sends a float32 `linear` to MKL, which uses less than half of an AMD processor; oneDNN is 1.3 x as fast."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available() or min(weight.shape) < 16:
        return None
    operators = torch.ops.mkldnn  # not a documented interface: any torch without it takes the plain way
    if not hasattr(operators, "_linear_pointwise") or not hasattr(operators, "_reorder_linear_weight"):
        return None
    return operators._reorder_linear_weight(weight.T.contiguous(), 1024)


def _scores(rows: Tensor, prepared: _Prepared) -> Tensor:
    if prepared.packed is None:
        return torch.addmm(prepared.bias, rows, prepared.weight)
    return torch.ops.mkldnn._linear_pointwise(rows.contiguous(), prepared.packed, prepared.bias, "none", [], "")


def _nearest(rows: Tensor, prepared: _Prepared) -> Tensor:
    """Ids of rows [N, C]: by float32 in blocks, then by float64 for all that this leaves open, at once."""
    found = [_ranked(block, prepared) for block in rows.split(max(64, _SCORES_PER_BLOCK // len(prepared.bias)))]
    ids, doubtful = torch.cat([ids for ids, _ in found]), torch.cat([doubt for _, doubt in found]).nonzero().flatten()
    for some in doubtful.split(_EXACTLY_AT_ONCE):
        if len(some):
            ids[some] = _nearest_exactly(rows[some].double(), prepared.exact)
    return ids


def _ranked(rows: Tensor, prepared: _Prepared) -> tuple[Tensor, Tensor]:
    """Ids of one block of rows, and which of them are in doubt."""
    narrow = rows.float()
    scores = _scores(narrow, prepared)
    ids = _argmin(scores).unsqueeze(1)
    best = scores.gather(1, ids)
    second = scores.scatter_(1, ids, torch.inf).amin(1, keepdim=True)
    scale = torch.linalg.vector_norm(narrow, dim=1, keepdim=True) * prepared.exact.radius + prepared.exact.bias_max
    # Each score is off by at most (C + 4)u of its scale: C products, the bias, and the rounding of x, c - m and b.
    # Twice that parts two scores; 1.01 covers the rounding of the bound itself. NaN makes a row doubtful, too.
    margin = scale * (2.02 * (rows.shape[1] + 4) * _ROUNDING[torch.get_float32_matmul_precision()])
    return ids.squeeze(1), (second - best > margin).logical_not().squeeze(1)


def _argmin(scores: Tensor) -> Tensor:
    """argmin over the last axis; numpy's is eight times as fast as torch's on a CPU."""
    return torch.from_numpy(scores.numpy().argmin(1)) if scores.device.type == "cpu" else scores.argmin(1)


def _nearest_exactly(rows: Tensor, exact: Exact) -> Tensor:
    """Ids of rows [N, C] float64 by float64 scores; near ties to the lower id."""
    scores = torch.addmm(exact.bias, rows, exact.minus.T)
    if not bool(scores.isfinite().all()):
        raise DataError("frames contain NaN or infinity, which have no nearest centroid")
    tie = kmeans_int8.TIE * (rows.norm(dim=1) * exact.radius + exact.bias_max)
    near = scores <= (scores.amin(1) + tie).unsqueeze(1)
    return near.int().argmax(1)  # the first True
