"""Distances between stretches of frames: warped (`abx_warp`) over a distance of frames, or edits between units.

R and C stretches of a block's rows and columns, T frames of a stretch, D channels.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from speechssl.errors import DataError
from speechssl.metrics.abx_warp import warp

Distance = Literal["angular", "cosine", "euclidean", "kl", "identical", "levenshtein"]
_POOL = 16_000_000  # frame distances held at once, but for those of one tile
_TILE = 2_048  # frames of its rows and of its columns, more only where one stretch has more
_TINY = 1e-12


@dataclass(frozen=True)
class Block:
    """Stretches [T, D] of at least one frame each, and of which pairs the distance is wanted [R, C]."""

    rows: Sequence[Tensor]
    columns: Sequence[Tensor]
    wanted: NDArray[np.bool_]


def frame_distances(x: Tensor, y: Tensor, kind: Distance) -> Tensor:
    """[N, M] of x [N, D] and y [M, D], not negative.

    angular: angle / pi. cosine: 1 - cos. euclidean. kl: symmetric Kullback-Leibler divergence of two distributions, in
    nats, (KL(x|y) + KL(y|x)) / 2. identical: 0 where all channels are equal, else 1 (units).
    """
    match kind:
        case "angular":
            cosine = F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T
            return cosine.clamp_(-1, 1).acos_().div_(math.pi)
        case "cosine":
            return (1 - F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T).clamp_min_(0)
        case "euclidean":
            return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
        case "kl":
            p, q = x.clamp_min(_TINY), y.clamp_min(_TINY)
            own, other = (p * p.log()).sum(-1), (q * q.log()).sum(-1)
            return ((own.unsqueeze(1) + other.unsqueeze(0) - p @ q.log().T - p.log() @ q.T) / 2).clamp_min_(0)
        case "identical":
            different = x[:, None, 0] != y[None, :, 0]
            for channel in range(1, x.shape[1]):
                different |= x[:, None, channel] != y[None, :, channel]
            return different.to(torch.float32)
    raise DataError(f"unknown distance {kind!r}: choose angular, cosine, euclidean, kl, identical or levenshtein")


def block_distances(blocks: Iterable[Block], kind: Distance) -> Iterator[NDArray[np.float32]]:
    """[R, C] of each block, nan where not wanted. Every pair is warped once; pairs of many blocks are warped together.

    levenshtein: edits between the deduplicated units, over the longer one's number of them.
    """
    if kind == "levenshtein":
        yield from map(_edits, blocks)
        return
    held: list[NDArray[np.float32]] = []
    pool = _Pool()
    for block in blocks:
        held.append(np.full(block.wanted.shape, np.nan, np.float32))
        for tile in _tiles(block):
            if pool.size > _POOL:
                pool.empty()
            pool.add(block, tile, held[-1], kind)
        if pool.size > _POOL:
            pool.empty()
            yield from held
            held = []
    pool.empty()
    yield from held


def all_pairs(stretches: Sequence[Tensor], kind: Distance) -> Tensor:
    """Symmetric distances [n, n] between stretches, each [T, D] with at least one frame."""
    if not stretches:
        return torch.zeros(0, 0)
    wanted = np.triu(np.ones((len(stretches),) * 2, np.bool_), 1)
    [found] = block_distances([Block(stretches, stretches, wanted)], kind)
    upper = torch.from_numpy(np.where(wanted, found, 0))
    return upper + upper.T


class _Pool:
    """Frame distances of many tiles, one behind another, and the pairs to be warped over them."""

    def __init__(self) -> None:
        self.size = 0
        self._costs: list[NDArray[np.float32]] = []
        self._pairs: list[NDArray[np.int64]] = []  # [4, n]: start, stride, rows, columns
        self._places: list[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, block: Block, tile: tuple[range, range], found: NDArray[np.float32], kind: Distance) -> None:
        """Frame distances of a tile, whose wanted pairs will be written into `found` [R, C]."""
        down, across = tile
        wanted = block.wanted[down.start : down.stop, across.start : across.stop]
        i, j = np.nonzero(wanted)
        if not len(i):
            return
        rows = [block.rows[k] for k in down]
        same = block.rows is block.columns and down == across
        columns = rows if same else [block.columns[k] for k in across]
        x = torch.cat(rows)
        costs = frame_distances(x, x if same else torch.cat(columns), kind).float().cpu().numpy()
        heights, widths = (np.array([len(s) for s in side], np.int64) for side in (rows, columns))
        tops, lefts = heights.cumsum() - heights, widths.cumsum() - widths
        stride = costs.shape[1]
        starts = self.size + tops[i] * stride + lefts[j]
        self._pairs.append(np.stack([starts, np.full_like(starts, stride), heights[i], widths[j]]))
        self._costs.append(costs.ravel())
        self._places.append((found, down.start + i, across.start + j))
        self.size += costs.size

    def empty(self) -> None:
        """Warp what is there."""
        if not self._pairs:
            return
        distances = warp(np.concatenate(self._costs), *np.concatenate(self._pairs, axis=1))
        done = 0
        for found, i, j in self._places:
            found[i, j] = distances[done : done + len(i)]
            done += len(i)
        self.size, self._costs, self._pairs, self._places = 0, [], [], []


def _tiles(block: Block) -> Iterator[tuple[range, range]]:
    for down in _pieces(block.rows):
        for across in _pieces(block.columns):
            yield down, across


def _pieces(stretches: Sequence[Tensor]) -> list[range]:
    """Runs of stretches of about `_TILE` frames."""
    which = np.cumsum([len(s) for s in stretches]) // _TILE
    edges = [0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), len(stretches)]
    return [range(a, b) for a, b in pairwise(edges)]


def _edits(block: Block) -> NDArray[np.float32]:
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    _, ids = torch.cat([*block.rows, *block.columns]).unique(dim=0, return_inverse=True)
    lengths = [len(s) for s in (*block.rows, *block.columns)]
    texts = ["".join(map(_letter, x.unique_consecutive().tolist())) for x in ids.split(lengths)]
    rows, columns = texts[: len(block.rows)], texts[len(block.rows) :]
    found = cdist(rows, columns, scorer=Levenshtein.normalized_distance, dtype=np.float32)
    return np.where(block.wanted, found, np.float32(np.nan))


def _letter(unit: int) -> str:
    """One character per unit, outside the surrogates."""
    return chr(0xE000 + unit)
