"""k-means++ seeding (Arthur and Vassilvitskii 2007), greedy as in their last section: the best of several draws."""

import torch
from torch import Generator, Tensor

from speechssl.quantizers.kmeans import KMeans

_SAME = 1e-6  # of the squared lengths: float32 distances below this may be rounding


def plus_plus(rows: Tensor, num_units: int, *, generator: Generator, trials: int) -> Tensor:
    """Indices [V] of the rows [N, C] to be the first centroids; fewer where there are fewer distinct rows.

    Each is drawn with a chance in proportion to the squared distance from those before it, `trials` times; the draw
    that lowers the sum of these distances most is taken. `generator` lives on the CPU. Cost: V passes over the rows.
    """
    rows = rows - rows.mean(0)  # less cancellation in the expanded distances
    norms = rows.square().sum(1)
    chosen = [int(torch.randint(len(rows), (1,), generator=generator))]
    closest = _distances(rows, norms, torch.tensor(chosen, device=rows.device))[:, 0]
    while len(chosen) < num_units:
        candidates = draw(closest, trials, generator)
        if candidates is None:
            break
        closer = torch.minimum(_distances(rows, norms, candidates), closest.unsqueeze(1))
        best = int(closer.sum(0, dtype=torch.float64).argmin())
        closest = closer[:, best].contiguous()
        chosen.append(int(candidates[best]))
    return torch.tensor(chosen, device=rows.device)


def draw(weights: Tensor, count: int, generator: Generator) -> Tensor | None:
    """Indices [count] drawn in proportion to weights [N], with replacement; None where all weights are 0."""
    sums = weights.double().cumsum(0)
    if not sums[-1] > 0:
        return None
    thresholds = torch.rand(count, generator=generator, dtype=torch.float64).to(sums.device) * sums[-1]
    # The first sum above the threshold: never an element of weight 0. Rounding can give the total itself.
    last = int(weights.nonzero()[-1])
    return torch.searchsorted(sums, thresholds, right=True).clamp_(max=last)


def refill(centroids: Tensor, empty: Tensor, rows: Tensor, *, generator: Generator) -> int:
    """Move the empty centroids (indices) onto rows, by more draws of k-means++; returns how many could be moved.

    Fewer than asked for where all rows lie on centroids already.
    """
    full = torch.ones(len(centroids), dtype=torch.bool, device=centroids.device)
    full[empty] = False
    codebook = KMeans(centroids[full])
    step = 4096
    closest = torch.cat([
        (block.double() - codebook.decode(codebook.encode(block)).double()).square().sum(1)
        for block in rows.split(step)
    ])  # fmt: skip
    for number, index in enumerate(empty.tolist()):
        picked = draw(closest, 1, generator)
        if picked is None:
            return number
        centroids[index] = rows[picked[0]]
        to_new = torch.cat([(block.double() - centroids[index].double()).square().sum(1) for block in rows.split(step)])
        closest = torch.minimum(closest, to_new)
    return len(empty)


def _distances(rows: Tensor, norms: Tensor, indices: Tensor) -> Tensor:
    """Squared distances [N, M] from rows [N, C] to the rows of these indices [M]."""
    scale = norms.unsqueeze(1) + norms[indices]
    distances = scale - 2 * (rows @ rows[indices].T)
    return distances.masked_fill_(distances < _SAME * scale, 0.0)
