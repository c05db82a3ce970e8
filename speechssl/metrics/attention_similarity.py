"""How alike the attention of two blocks is, head by head, after Wu et al. (arXiv:2005.01172); for speech, El Kheir et
al. (arXiv:2406.16099).

Two heads are compared on the same utterance: by the Pearson correlation of their weights, all T x T of them, and by 1
less the Jensen-Shannon divergence (in bits, 0..1) of a query's weights, averaged over queries. Averaged over
utterances; a head counts by the head of the other block that it is most like, a block by the mean of its heads. Neither
is symmetric in the blocks.

H heads of one block, G of the other, T frames.
"""

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.floating]


class HeadSimilarity:
    """Sums over utterances; memory is H G numbers whatever the corpus. overlap: measured, too (H G T^2 logarithms)."""

    def __init__(self, *, overlap: bool = True) -> None:
        self.utterances = 0
        self._measures = (correlations, overlaps) if overlap else (correlations,)
        self._sum: NDArray[np.float64] | None = None  # [1 or 2, H, G]: correlation, overlap
        self._count: NDArray[np.int64] | None = None

    def add(self, x: Maps, y: Maps) -> None:
        """Weights [H, T, T] and [G, T, T] of one utterance. One frame says nothing and is not counted."""
        if x.ndim != 3 or y.ndim != 3 or x.shape[1:] != y.shape[1:] or x.shape[1] != x.shape[2]:
            raise ValueError(f"x and y must be [heads, frames, frames] with as many frames, got {x.shape}, {y.shape}")
        if x.shape[1] < 2:
            return
        found = np.stack([measure(x, y) for measure in self._measures])
        if self._sum is None or self._count is None:
            self._sum, self._count = np.zeros(found.shape), np.zeros(found.shape, np.int64)
        elif self._sum.shape != found.shape:
            raise ValueError(f"heads before were {self._sum.shape[1:]}, now {found.shape[1:]}")
        self.utterances += 1
        self._sum += np.nan_to_num(found)
        self._count += ~np.isnan(found)

    def correlation(self) -> float:
        """Mean over x's heads of the largest correlation with one of y's; nan where nothing was counted."""
        return self._best(0)

    def overlap(self) -> float:
        """The same of 1 less the divergence; nan where it was not asked for."""
        return self._best(1)

    def _best(self, measure: int) -> float:
        """Of each head with the one it is most like; pairs in which one never varied do not count."""
        if self._sum is None or self._count is None or measure >= len(self._sum):
            return float("nan")
        heads = [
            (total[count > 0] / count[count > 0]).max()
            for total, count in zip(self._sum[measure], self._count[measure], strict=True)
            if count.any()
        ]
        return float(np.mean(heads)) if heads else float("nan")


def correlations(x: Maps, y: Maps) -> NDArray[np.float64]:
    """Pearson correlation [H, G] of the weights of two blocks' heads; nan where a head weighs all alike."""
    sides = []
    for maps in (x, y):
        flat = maps.reshape(len(maps), -1).astype(np.float64)
        flat = flat - flat.mean(1, keepdims=True)
        norm = np.linalg.norm(flat, axis=1, keepdims=True)
        sides.append(flat / np.where(norm > 1e-12, norm, np.nan))
    return np.clip(sides[0] @ sides[1].T, -1, 1)


def overlaps(x: Maps, y: Maps) -> NDArray[np.float64]:
    """1 less the mean Jensen-Shannon divergence [H, G], in bits, of the queries' weights."""
    own, others = (_entropy(maps) for maps in (x, y))  # [H, T], [G, T]
    found = np.empty((len(x), len(y)))
    for i, j in np.ndindex(found.shape):
        middle = _entropy((x[i].astype(np.float64) + y[j]) / 2)
        found[i, j] = 1 - (middle - (own[i] + others[j]) / 2).mean()
    return found.clip(0, 1)


def _entropy(weights: Maps) -> NDArray[np.float64]:
    """Bits, over the last axis."""
    weights = weights.astype(np.float64)
    return -(weights * np.log2(weights, where=weights > 0, out=np.zeros_like(weights))).sum(-1)
