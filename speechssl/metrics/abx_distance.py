"""Distances between stretches of frames: dynamic time warping over a distance of frames, many pairs at once.

The warp with the smallest sum of frame distances is taken (steps down, right and diagonal, all of weight 1), and the
sum is divided by the number of steps of that path; where sums are equal, the path with fewer steps counts.

n stretches, T frames of the longest, C channels, P pairs.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.errors import DataError

Distance = Literal["angular", "cosine", "euclidean", "kl", "identical"]
_PAIRS = 16_384  # at once
_TINY = 1e-12


def frame_distances(x: Tensor, y: Tensor, kind: Distance) -> Tensor:
    """[N, M] of x [N, C] and y [M, C].

    angular: angle / pi. cosine: 1 - cos. euclidean. kl: symmetric Kullback-Leibler divergence of two distributions, in
    nats, (KL(x|y) + KL(y|x)) / 2. identical: 0 where all channels are equal, else 1 (units).
    """
    match kind:
        case "angular":
            cosine = F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T
            return cosine.clamp(-1, 1).acos() / math.pi
        case "cosine":
            return 1 - F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T
        case "euclidean":
            return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
        case "kl":
            p, q = x.clamp_min(_TINY), y.clamp_min(_TINY)
            own, other = (p * p.log()).sum(-1), (q * q.log()).sum(-1)
            return (own.unsqueeze(1) + other.unsqueeze(0) - p @ q.log().T - p.log() @ q.T) / 2
        case "identical":
            return (x.unsqueeze(1) != y.unsqueeze(0)).any(-1).to(torch.float32)
    raise DataError(f"unknown distance {kind!r}: choose angular, cosine, euclidean, kl or identical")


def warp(costs: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """DTW distance [P] over costs [P, N, M], of which pair p uses the first rows[p] and columns[p] (at least 1)."""
    _, height, width = costs.shape
    infinite = costs.new_full((len(costs),), math.inf)
    zero = costs.new_zeros(len(costs))
    sums: list[Tensor] = [infinite] * (width + 1)  # of the row above, with a border
    steps: list[Tensor] = [zero] * (width + 1)
    found = costs.new_zeros(len(costs))
    for i in range(height):
        left, left_steps = infinite, zero
        diagonal, diagonal_steps = (zero, zero) if i == 0 else (infinite, zero)
        new_sums, new_steps = [infinite], [zero]
        for j in range(width):
            up, up_steps = sums[j + 1], steps[j + 1]
            best, count = diagonal, diagonal_steps
            for other, other_steps in ((up, up_steps), (left, left_steps)):
                better = (other < best) | ((other == best) & (other_steps < count))
                best, count = torch.where(better, other, best), torch.where(better, other_steps, count)
            left, left_steps = best + costs[:, i, j], count + 1
            new_sums.append(left)
            new_steps.append(left_steps)
            diagonal, diagonal_steps = up, up_steps
            ends = (rows == i + 1) & (columns == j + 1)
            found = torch.where(ends, left / left_steps, found)
        sums, steps = new_sums, new_steps
    return found


def all_pairs(stretches: Sequence[Tensor], kind: Distance) -> Tensor:
    """Symmetric DTW distances [n, n] on the CPU between stretches, each [T, C] with at least one frame."""
    counts = torch.tensor([len(x) for x in stretches])
    frames = torch.cat(list(stretches))
    device = frames.device
    costs = frame_distances(frames, frames, kind)
    starts = counts.cumsum(0) - counts
    first, second = torch.triu_indices(len(counts), len(counts), 1)
    order = (counts[first] * 1000 + counts[second]).argsort()  # pairs of like size together: little is wasted
    first, second = first[order], second[order]
    distances = torch.zeros(len(counts), len(counts), dtype=costs.dtype)
    for a, b in zip(first.split(_PAIRS), second.split(_PAIRS), strict=True):
        if not len(a):
            continue
        down = starts[a].unsqueeze(1) + torch.arange(int(counts[a].max())).minimum(counts[a].unsqueeze(1) - 1)
        across = starts[b].unsqueeze(1) + torch.arange(int(counts[b].max())).minimum(counts[b].unsqueeze(1) - 1)
        block = costs[down.to(device).unsqueeze(2), across.to(device).unsqueeze(1)]
        distances[a, b] = warp(block, counts[a].to(device), counts[b].to(device)).cpu()
    return distances + distances.T
