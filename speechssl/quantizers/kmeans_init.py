"""k-means++ seeding (Arthur and Vassilvitskii 2007), greedy as in their last section: the best of several draws.

The draws look at the rows as bytes (`kmeans_int8.encode`): sums of products of such integers are exact however they are
computed, so the same seed draws the same rows with any number of threads, on any processor.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from speechssl.quantizers import kmeans_int8
from speechssl.quantizers.kmeans import KMeans

_SAME = 1e-6  # of the squared lengths: float64 distances below this are differences of what float32 cannot tell apart


def plus_plus(rows: Tensor, num_units: int, *, generator: Generator, trials: int) -> Tensor:
    """Indices [V] of the rows [N, C] to be the first centroids; fewer where there are fewer distinct rows.

    Each is drawn with a chance in proportion to the squared distance from those before it, `trials` times; the draw
    that lowers the sum of these distances most is taken. `generator` lives on the CPU. Cost: V passes over the rows.
    """
    rows = rows.cpu().float()
    start = generator.get_state()
    chosen = _plus_plus(_Bytes(rows), num_units, generator, trials)
    if len(chosen) < num_units:  # distinct rows may share their bytes
        generator.set_state(start)
        chosen = _plus_plus(_Doubles(rows), num_units, generator, trials)
    return torch.tensor(chosen)


def _plus_plus(distances: "_Bytes | _Doubles", num_units: int, generator: Generator, trials: int) -> list[int]:
    chosen = [int(torch.randint(distances.num_rows, (1,), generator=generator))]
    closest = distances.to(chosen)[0]
    while len(chosen) < num_units:
        candidates = draw(closest, trials, generator)
        if candidates is None:
            break
        closer = np.minimum(distances.to(candidates), closest)
        best = int(closer.sum(1).argmin())
        closest = closer[best]
        chosen.append(int(candidates[best]))
    return chosen


def draw(weights: NDArray[np.float64], count: int, generator: Generator) -> list[int] | None:
    """Indices [count] drawn in proportion to weights [N], with replacement; None where all weights are 0."""
    sums = np.cumsum(weights)
    if not sums[-1] > 0:
        return None
    thresholds = torch.rand(count, generator=generator, dtype=torch.float64).numpy() * sums[-1]
    # The first sum above the threshold: never an element of weight 0. Rounding can give the total itself.
    last = int(np.flatnonzero(weights)[-1])
    return np.searchsorted(sums, thresholds, side="right").clip(max=last).tolist()


def refill(centroids: Tensor, empty: Tensor, rows: Tensor, *, generator: Generator) -> int:
    """Move the empty centroids (indices) onto rows, by more draws of k-means++; returns how many could be moved.

    Fewer than asked for where all rows lie on centroids already.
    """
    full = torch.ones(len(centroids), dtype=torch.bool, device=centroids.device)
    full[empty] = False
    codebook = KMeans(centroids[full])
    blocks = rows.split(4096)
    closest = torch.cat([_squares(block, codebook.decode(codebook.encode(block))) for block in blocks])
    for number, index in enumerate(empty.tolist()):
        picked = draw(closest.cpu().numpy(), 1, generator)
        if picked is None:
            return number
        centroids[index] = rows[picked[0]]
        closest = torch.minimum(closest, torch.cat([_squares(block, centroids[index]) for block in blocks]))
    return len(empty)


def _squares(rows: Tensor, others: Tensor) -> Tensor:
    return (rows.double() - others.double()).square().sum(1)


class _Bytes:
    """Squared distances between rows as their bytes have them."""

    def __init__(self, rows: Tensor) -> None:
        self.num_rows = len(rows)
        centre = torch.from_numpy(rows.numpy().mean(0, dtype=np.float64).astype(np.float32))
        codes = kmeans_int8.encode(rows, centre)
        self._products = kmeans_int8.Products(codes.values)
        self._steps = codes.step.squeeze(1).numpy().astype(np.float64)
        integers = codes.values.numpy().astype(np.int32) - 128
        self._norms = np.square(self._steps) * np.einsum("nc,nc->n", integers, integers)

    def to(self, indices: list[int]) -> NDArray[np.float64]:
        """[M, N]."""
        steps = self._steps[indices, None] * self._steps
        distances = self._norms[indices, None] + self._norms - 2 * (steps * self._products.among(indices))
        return np.maximum(distances, 0, out=distances)


class _Doubles:
    """The same for the rows themselves, in float64."""

    def __init__(self, rows: Tensor) -> None:
        self.num_rows = len(rows)
        wide = rows.numpy().astype(np.float64)
        self._rows = wide - wide.mean(0)
        self._norms = np.square(self._rows).sum(1)

    def to(self, indices: list[int]) -> NDArray[np.float64]:
        """[M, N]."""
        scale = self._norms[indices, None] + self._norms
        distances = scale - 2 * (self._rows[indices] @ self._rows.T)
        return np.where(distances < _SAME * scale, 0, distances)
