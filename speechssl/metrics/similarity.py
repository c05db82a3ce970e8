"""How alike two sets of frames are, of two layers or two models for the same speech: CKA, SVCCA, PWCCA.

Linear CKA (arXiv:1905.00414): |X^T Y|^2 / (|X^T X| |Y^T Y|), Frobenius norms, means removed. Neither an orthogonal map
nor a common scale of either side changes it. SVCCA (arXiv:1706.05806): the mean canonical correlation between the
directions that hold 99 % of each side's variance. PWCCA (arXiv:1806.05759): all canonical correlations, each weighted
by how much of X its direction accounts for; it is not symmetric. No invertible linear map changes the correlations.

Neuron by neuron: the largest correlation of a channel of X with any one of Y (arXiv:1811.01157, 2005.01172), which is
1 only where the same channel is there, perhaps elsewhere, scaled or negated; and its multiple correlation with all of
Y, that of the best linear prediction, which is 1 where Y holds it in any linear form. Neither is symmetric. Over
several other models: the largest correlation in the best of them (MaxCorr: some model has such a neuron) or in the
worst (MinCorr: every model has one).

All come from second moments, which are added up frame by frame: memory is (C + D)^2 numbers whatever the corpus.
All of them are near 0 for unrelated frames only where there are many more frames than channels.

N frames, C channels of X, D of Y, K canonical directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_RANK = 1e-10  # of the largest eigenvalue: below, a direction is taken for empty


@dataclass
class Moments:
    """Second moments of pairs of frames. Call `add` with as many pieces as there are, then ask.

    Sums are kept in float64 around the first piece's mean, so that a large mean costs no digits.
    """

    count: int = 0
    _shift: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # [C + D]
    _sum: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _products: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    _split: int = 0  # C

    def add(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> None:
        """Count frames x [N, C] and y [N, D] of the same moments. Raises ValueError for shapes that do not agree."""
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise ValueError(f"x and y must be [frames, channels] with as many frames, got {x.shape} and {y.shape}")
        if not len(x):
            return
        both = np.concatenate([x, y], axis=1, dtype=np.float64)
        if not np.isfinite(both).all():
            raise ValueError("x or y holds values that are not finite")
        if not self.count:
            self._split, self._shift = x.shape[1], both.mean(0)
            self._sum, self._products = np.zeros(both.shape[1]), np.zeros((both.shape[1],) * 2)
        elif (x.shape[1], both.shape[1]) != (self._split, len(self._sum)):
            raise ValueError(f"pieces before had {self._split} and {len(self._sum) - self._split} channels, this one "
                             f"has {x.shape[1]} and {y.shape[1]}")  # fmt: skip
        both -= self._shift
        self.count += len(both)
        self._sum += both.sum(0)
        self._products += both.T @ both

    def covariances(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of X [C, C], of Y [D, D], between them [C, D]. Raises ValueError with fewer than two frames."""
        if self.count < 2:
            raise ValueError(f"similarity needs at least 2 frames, got {self.count}")
        mean = self._sum / self.count
        all_ = self._products / self.count - np.outer(mean, mean)
        c = self._split
        return all_[:c, :c], all_[c:, c:], all_[:c, c:]

    def swapped(self) -> "Moments":
        """Of Y and X."""
        order = np.r_[self._split : len(self._sum), : self._split]
        return Moments(self.count, self._shift[order], self._sum[order], self._products[np.ix_(order, order)],
                       len(order) - self._split)  # fmt: skip

    def between(self, x: slice, y: slice) -> "Moments":
        """Of two runs of channels, counted through X and Y: where frames of many models were added side by side."""
        order = np.r_[x, y]
        return Moments(self.count, self._shift[order], self._sum[order], self._products[np.ix_(order, order)],
                       x.stop - x.start)  # fmt: skip

    def cka(self) -> float:
        """Linear CKA, 0..1; nan where one side does not vary."""
        xx, yy, xy = self.covariances()
        scale = float(np.linalg.norm(xx) * np.linalg.norm(yy))
        return float((xy**2).sum()) / scale if scale else float("nan")

    def svcca(self, variance: float = 0.99) -> float:
        """Mean canonical correlation of the leading directions that hold so much of each side's variance."""
        if not 0 < variance <= 1:
            raise ValueError(f"variance={variance} must be in (0, 1]")
        correlations, _ = self._canonical(variance)
        return float(correlations.mean()) if len(correlations) else float("nan")

    def pwcca(self) -> float:
        """Canonical correlations weighted by sum_j |<h_i, x_j>|, h_i the i-th canonical variate of X (section 3)."""
        correlations, projection = self._canonical(1.0)
        weights = np.abs(projection).sum(1)
        return float((weights * correlations).sum() / weights.sum()) if weights.sum() else float("nan")

    def neurons(self) -> NDArray[np.float64]:
        """Largest absolute correlation of each channel of X with one of Y, [C] of 0..1; nan where X's does not vary."""
        xx, yy, xy = self.covariances()
        x_scale, y_scale = _scales(xx), _scales(yy)
        found = np.abs(xy * x_scale[:, None] * y_scale).max(1, initial=0).clip(0, 1)
        return np.where(x_scale > 0, found, np.nan)

    def predicted_neurons(self) -> NDArray[np.float64]:
        """Multiple correlation of each channel of X with all of Y, [C] of 0..1; nan where X's does not vary."""
        xx, yy, xy = self.covariances()
        explained = np.square(xy @ _whitening(yy, 1.0)).sum(1)
        scale = _scales(xx)
        return np.where(scale > 0, np.sqrt(explained).clip(0) * scale, np.nan).clip(0, 1)

    def _canonical(self, variance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Correlations [K], largest first, and the covariances [K, C] of X's canonical variates with its channels."""
        xx, yy, xy = self.covariances()
        left, right = _whitening(xx, variance), _whitening(yy, variance)
        u, correlations, _ = np.linalg.svd(left.T @ xy @ right, full_matrices=False)
        return correlations.clip(0, 1), u.T @ left.T @ xx


@dataclass(frozen=True)
class OverModels:
    """Of each channel [C] the largest correlation with one of another model; nan where the channel does not vary."""

    max: NDArray[np.float64]  # in the model that has the best: MaxCorr
    min: NDArray[np.float64]  # in the model whose best is worst: MinCorr
    mean: NDArray[np.float64]  # over models


def over_models(correlations: Sequence[NDArray[np.float64]]) -> OverModels:
    """MaxCorr and MinCorr (arXiv:1811.01157, 2005.01172) from `Moments.neurons`, [C] for each other model."""
    if not correlations:
        raise ValueError("correlations with no other model have no largest")
    found = np.stack(correlations)
    return OverModels(found.max(0), found.min(0), found.mean(0))


def _scales(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / standard deviation, [C]; 0 for channels that do not vary."""
    variance = np.diagonal(covariance)
    return np.where(variance > _RANK * variance.max(initial=0), 1 / np.sqrt(variance.clip(1e-300)), 0.0)


def _whitening(covariance: NDArray[np.float64], variance: float) -> NDArray[np.float64]:
    """[C, K]: maps frames to the leading directions with a share `variance` of all, each with variance 1."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    total = float(values.sum())
    if not total:
        return vectors[:, :0]
    held = np.cumsum(values) / total
    kept = min(len(values), int(np.searchsorted(held, variance - 1e-12)) + 1)
    kept = min(kept, int((values > _RANK * values[0]).sum()))
    return vectors[:, :kept] / np.sqrt(values[:kept])


def mutual_neighbours(x: NDArray[np.floating], y: NDArray[np.floating], k: int = 10) -> float:
    """Mean share of the k nearest frames (by cosine) that a frame has in common in x [N, C] and in y [N, D].

    The mutual k-nearest-neighbour alignment of arXiv:2405.07987. Takes N^2 numbers: for a sample of frames.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"x and y must be [frames, channels] with as many frames, got {x.shape} and {y.shape}")
    if not 1 <= k < len(x):
        raise ValueError(f"k={k} must be in 1..{len(x) - 1}, the frames less one")
    chosen = [_nearest(side, k) for side in (x, y)]
    common = [len(np.intersect1d(a, b, assume_unique=True)) for a, b in zip(*chosen, strict=True)]
    return float(np.mean(common)) / k


def _nearest(x: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    x = x.astype(np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)
    scores = x @ x.T
    np.fill_diagonal(scores, -np.inf)
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]
