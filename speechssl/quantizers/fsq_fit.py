"""A grid for frames that were never trained to lie on one: principal components, stretched to use all levels.

In the paper (arXiv:2309.15505) FSQ is part of a network that is trained end to end, and the network learns to fill the
grid. Here the encoder is finished, and this is the plainest thing to do afterwards: the d directions of a sample's
largest variance, each with unit variance (whitened), then for each the stretch and the middle, out of a fixed set, with
which the sample's frames are spread most evenly (by entropy) over the levels after the bound. Levels are in the order
of the variances. Whatever lies outside these d directions is lost, and k-means with as many units is nearer to the
frames; what a grid has is units whose digits mean something, and no codebook.

N frames, C channels, d scalars.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from speechssl.errors import ConfigError, DataError
from speechssl.quantizers.fsq import FSQ, ProjectedFSQ, inverse_bound
from speechssl.quantizers.kmeans_fit import Features, as_array, check_settings
from speechssl.quantizers.kmeans_sample import FrameSample

_STRETCHES = torch.logspace(math.log10(0.1), math.log10(4.0), 49, dtype=torch.float64)  # of a Gaussian 0.8 is best
_MIDDLES = torch.linspace(0.2, 0.8, 25, dtype=torch.float64)  # as quantiles
_LEAST_VARIANCE = 1e-9  # of a direction, relative to the largest: below it there is but rounding
_BLOCK = 16384  # frames


@dataclass(frozen=True)
class FSQReport:
    """What a fit did."""

    num_units: int
    dim: int
    levels: tuple[int, ...]
    mode: str
    seed: int
    frames_seen: int
    frames_sampled: int
    explained: float  # share of the frames' variance in the directions that are quantized
    level_perplexities: tuple[float, ...]  # of each scalar: how many levels are used as if evenly
    inertia: float  # mean squared distance of the sample's frames from what their units decode to
    empty_units: int  # levels of single scalars that no frame chose
    perplexity: float  # exp of the entropy of the units: how many are used as if evenly
    seconds: float
    settings: dict[str, Any] = field(default_factory=dict)


def fit_fsq(
    features: Features, *, levels: Sequence[int], seed: int = 0, max_frames: int = 1_000_000
) -> tuple[ProjectedFSQ, FSQReport]:
    """A grid of these levels for a sample of at most max_frames frames; the same for any order of the utterances.

    Raises ConfigError for levels that cannot be, DataError where frames have fewer directions than there are levels.
    """
    began = time.monotonic()
    check_settings(max_frames=max_frames)
    grid = FSQ(levels)
    sample = FrameSample(max_frames, seed)
    for name, frames in features():
        sample.add(name, as_array(frames))
    rows, seen, _, size = sample.finish()
    if not size:
        raise DataError("no frames to learn from; give more speech")
    if grid.dim > rows.shape[1]:
        raise ConfigError(f"{grid.dim} levels need frames of as many channels, these have {rows.shape[1]}")
    mean, variances, directions = _principal(rows)
    if size < 2 or not float(variances[grid.dim - 1]) > _LEAST_VARIANCE * float(variances[0]):
        raise DataError(f"the {size} frames do not vary in {grid.dim} directions; give more speech, or fewer levels")
    scales = variances[: grid.dim].sqrt()
    white = torch.cat([(part.double() - mean) @ (directions[:, : grid.dim] / scales) for part in rows.split(_BLOCK)])
    fitted = [_stretch(column.contiguous(), count) for column, count in zip(white.T, grid.levels, strict=True)]
    stretches, middles = (torch.stack([one[i] for one in fitted]) for i in (0, 1))
    quantizer = ProjectedFSQ(
        torch.tensor(grid.levels), mean, directions[:, : grid.dim] / scales * stretches, -middles * stretches,
        torch.cat([one[2] for one in fitted]), (directions[:, : grid.dim] * scales).T,
    )  # fmt: skip
    ids = torch.cat([quantizer.encode(part) for part in rows.split(_BLOCK)])
    squares = 0.0
    for part, own in zip(rows.split(_BLOCK), ids.split(_BLOCK), strict=True):
        squares += float((part - quantizer.decode(own)).double().square().sum())
    used = [torch.bincount(digit, minlength=n) for digit, n in zip(quantizer.codes(ids).T, grid.levels, strict=True)]
    return quantizer, FSQReport(
        grid.size, quantizer.dim, grid.levels, "sample", seed, seen.num_frames, size,
        explained=float(variances[: grid.dim].sum() / variances.sum()),
        level_perplexities=tuple(round(float(_entropy(counts).exp()), 4) for counts in used),
        inertia=squares / size, empty_units=sum(int((counts == 0).sum()) for counts in used),
        perplexity=float(_entropy(torch.unique(ids, return_counts=True)[1]).exp()),
        seconds=round(time.monotonic() - began, 3),
        settings={"levels": list(grid.levels), "max_frames": max_frames},
    )  # fmt: skip


def _principal(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C], variances [C] from the largest, directions [C, C] as columns whose largest entry is positive."""
    total, mean = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64), rows.double().mean(0)
    for part in rows.split(_BLOCK):
        centred = part.double() - mean
        total += centred.T @ centred
    variances, directions = torch.linalg.eigh(total / len(rows))
    variances, directions = variances.flip(0).clamp(min=0), directions.flip(1)
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return mean, variances, directions * largest.sign()


def _stretch(white: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of one scalar's values w [N]: stretch a and middle c, for z = a (w - c), and what its levels stand for [L]."""
    ordered = white.sort().values
    edges = inverse_bound(torch.arange(1, count, dtype=torch.float64) - count // 2 - 0.5, count)
    middles = ordered[((len(ordered) - 1) * _MIDDLES).round().long()]
    thresholds = edges / _STRETCHES.view(-1, 1, 1) + middles.view(-1, 1)  # [stretch, middle, L - 1]
    below = torch.searchsorted(ordered, thresholds.flatten()).view(thresholds.shape)
    ends = below.new_zeros(*below.shape[:2], 1)
    entropies = _entropy(torch.cat([ends, below, ends + len(ordered)], -1).diff(dim=-1))
    best = int(entropies.flatten().argmax())
    stretch, middle = _STRETCHES[best // len(middles)], middles[best % len(middles)]
    cells = torch.searchsorted(thresholds[best // len(middles), best % len(middles)], white, right=True)
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, cells, white)
    counts = torch.bincount(cells, minlength=count)
    # A level that no frame chose stands for its own middle; the outermost have none, and take one beside their edge.
    steps = torch.arange(count, dtype=torch.float64) - count // 2
    steps[0], steps[-1] = steps[0] + 0.25, steps[-1] - 0.25
    empty = inverse_bound(steps, count) / stretch + middle
    return stretch, middle, torch.where(counts > 0, sums / counts.clamp(min=1), empty)


def _entropy(counts: Tensor) -> Tensor:
    """In nats, over the last axis of counts."""
    shares = counts.double() / counts.sum(-1, keepdim=True)
    return -torch.special.xlogy(shares, shares).sum(-1)
