"""The nearest centroid through 8-bit products: a short list per frame that is proven to hold the answer, then float64.

N frames, C channels, V units. Where the processor multiplies bytes (AVX-512 VNNI), that is several times as fast as
floats. With a centre m, x - m = t r + e (r integers in -127..127, t the row's step) and c - m = v g + d likewise, the
score b - (x - m)·(c - m), where b = |c - m|² / 2, differs from b - t v (r·g) by e·(c - m) + t r·d: at most
E = |e| max|c - m| + |t r| max|d|. Integer sums are exact and |e|, |d| are known, so no unit whose score exceeds the
lowest by more than 2E can be nearest. What is left, 1.1 units on average for HuBERT features, is decided in float64.
"""

import functools
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TIE = 2.0**-40  # float64 scores are exact to about C * 2^-53 of their scale: 2^-43 at C = 1024
_LEVELS, _ZERO = 127, 128  # bytes hold 1..255, for -127..127
_ROUNDING = 2.0**-20  # 16 units of float32 rounding: more than the few operations on any value here lose
_UNDERFLOW = 1e-36  # more than a few float32 operations can lose at the bottom of their range
_SLACK = 1.001  # a float32 norm of 8192 values is better than that
_MAX_DIM = 8192


@dataclass(frozen=True)
class Codes:
    """Rows as bytes. `error` is NaN or infinite for a row that cannot be coded (NaN, infinity, out of range)."""

    values: Tensor  # r + 128 [N, C] uint8
    step: Tensor  # t [N, 1] float32
    error: Tensor  # bound on |e| [N, 1] float32
    length: Tensor  # bound on |t r| [N, 1] float32

    def __getitem__(self, rows: slice | Tensor) -> "Codes":
        return Codes(self.values[rows], self.step[rows], self.error[rows], self.length[rows])


@dataclass(frozen=True)
class Exact:
    """Float64 scores: s = bias + x·minus, exact to far less than `TIE` times |x| radius + bias_max."""

    minus: Tensor  # mean - c [V, C] float64
    bias: Tensor  # |c|² / 2 less its mean [V] float64
    radius: float  # max |mean - c|
    bias_max: float


@dataclass(frozen=True)
class Codebook:
    """Centroids as bytes, and what the bounds need."""

    centre: Tensor  # m [C] float32
    packed: Tensor  # g in oneDNN's own layout
    scales: Tensor  # v [V] float32
    zeros: Tensor  # [V] int64: no offset
    bias: Tensor  # b less its mean [V] float32
    per_error: float  # bounds: E = per_error * |e| + per_length * |t r| + least
    per_length: float
    least: float
    minus: Tensor  # as those of `exact`, float32
    with_minus: Tensor
    per_norm: float  # twice the rounding of float32 scores with these: per_norm * |x - m| + least_margin
    least_margin: float
    exact: Exact


def encode(rows: Tensor, centre: Tensor) -> Codes:
    """Rows [N, C] float32 as bytes, with what that loses."""
    moved = rows - centre
    peak = torch.maximum(moved.amax(1, keepdim=True), -moved.amin(1, keepdim=True))
    step = peak / _LEVELS
    moved *= torch.where(peak == 0, 0.0, _LEVELS / peak)
    rounded = moved.round()
    length = torch.linalg.vector_norm(rounded, dim=1, keepdim=True) * step * _SLACK
    error = torch.linalg.vector_norm(moved.sub_(rounded), dim=1, keepdim=True) * step * _SLACK
    error += _ROUNDING * (length + error)  # the rounding of x - m, of the step and of the product with 127 / peak
    with np.errstate(invalid="ignore"):  # NaN becomes some byte or other; its row's error says so
        values = torch.from_numpy(rounded.add_(_ZERO).numpy().astype(np.uint8))
    return Codes(values, step, error, length)


def prepare(centroids: Tensor, exact: Exact, centre: Tensor) -> Codebook:
    """The codebook of centroids [V, C] for rows that are encoded about `centre` [C] float32."""
    wide = centroids.double() - centre.double()
    bias = wide.square().sum(1) / 2
    bias -= bias.mean()
    scales = (wide.abs().amax(1) / _LEVELS).clamp(min=1e-30).float()
    steps = scales.double().unsqueeze(1)
    levels = (wide / steps).round_().clamp_(-_LEVELS, _LEVELS)
    radius, error = float(wide.norm(dim=1).max()), float((wide - levels * steps).norm(dim=1).max())
    packed = torch.ops.onednn.qlinear_prepack(levels.to(torch.int8), None)
    # Whoever ties with the nearest must be listed, too: `exact` measures from the origin, and |x| <= |x - m| + |m|.
    distance = float(centre.double().norm())
    least = _ROUNDING * float(bias.abs().max()) + TIE * (exact.bias_max + distance * exact.radius) + _UNDERFLOW
    rounding = _ROUNDING * (radius + error) + TIE * exact.radius
    zeros = torch.zeros(len(centroids), dtype=torch.int64)
    margin = 2.02 * (centroids.shape[1] + 4) * 2.0**-24 + 2 * TIE
    return Codebook(
        centre, packed, scales, zeros, bias.float(), radius + rounding, error + rounding, least,
        exact.minus.float(), exact.bias.float(), margin * exact.radius,
        margin * (exact.bias_max + distance * exact.radius) + _UNDERFLOW, exact,
    )  # fmt: skip


def nearest(rows: Tensor, codes: Codes, book: Codebook) -> tuple[Tensor, NDArray[np.intp]]:
    """Ids [N] of a block of rows [N, C], and the rows that could not be decided here (their ids mean nothing)."""
    scores = torch.addcmul(book.bias, _products(codes.values, book), codes.step, value=-1)
    bound = codes.error * book.per_error + codes.length * book.per_length + book.least
    table = scores.numpy()
    ids = table.argmin(1)
    best = scores.gather(1, torch.from_numpy(ids).unsqueeze(1))
    row, column = np.divmod(np.flatnonzero(table <= (best + 2 * bound).numpy()), table.shape[1])
    counts = np.bincount(row, minlength=len(table))
    undecided = counts == 0
    if len(row) > len(ids) or undecided.any():
        several = counts[row] > 1
        row, column = _closest(rows, row[several], column[several], codes, book)
        ids[row] = column
        left = np.bincount(row, minlength=len(table))
        undecided |= (counts > 1) & (left == 0)
        several = left[row] > 1
        if several.any():
            among = np.flatnonzero(left > 1)
            ids[among] = _decide(rows[torch.from_numpy(among)].double(), left[among], column[several], book.exact)
    return torch.from_numpy(ids), np.flatnonzero(undecided)


def _products(values: Tensor, book: Codebook) -> Tensor:
    """v (r·g) [N, V] float32; the integer sums are exact."""
    return torch.ops.onednn.qlinear_pointwise(
        values, 1.0, _ZERO, book.packed, book.scales, book.zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )


def _closest(
    rows: Tensor, row: NDArray, column: NDArray, codes: Codes, book: Codebook
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of pairs of a row and a unit, sorted by row, those that float32 cannot tell from the row's closest."""
    if not len(row):
        return row, column
    counts = np.bincount(row, minlength=len(rows))
    scores = _sampled(rows, counts, column, book.minus, book.with_minus)
    margin = (codes.length + codes.error) * book.per_norm + book.least_margin
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    limit = np.minimum.reduceat(scores, starts) + margin.numpy()[row[starts], 0]
    near = scores <= np.repeat(limit, counts[row[starts]])
    return row[near], column[near]


def _decide(rows: Tensor, counts: NDArray, columns: NDArray, exact: Exact) -> NDArray:
    """Ids of rows [N, C] float64, each among its `counts` candidates; near ties to the lower id."""
    scores = _sampled(rows, counts, columns, exact.minus, exact.bias)
    starts = np.cumsum(counts) - counts
    tie = TIE * (rows.norm(dim=1).numpy() * exact.radius + exact.bias_max)
    limit = np.minimum.reduceat(scores, starts) + tie
    return np.minimum.reduceat(np.where(scores <= np.repeat(limit, counts), columns, len(exact.bias)), starts)


def _sampled(rows: Tensor, counts: NDArray, columns: NDArray, minus: Tensor, bias: Tensor) -> NDArray:
    """Scores bias + x·minus of each row [N, C] with its `counts` units, which `columns` lists row by row."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    where = torch.from_numpy(columns)
    wanted = torch.sparse_csr_tensor(torch.from_numpy(starts), where, bias[where], size=(len(rows), len(bias)),
                                     check_invariants=False)  # fmt: skip
    return torch.sparse.sampled_addmm(wanted, rows, minus.T).values().numpy()


def block(num_units: int) -> int:
    """Rows to take at once: few calls, but scores that stay in the cache (2048 rows at 500 units)."""
    return min(4096, max(64, (1 << 20) // num_units))


class Products:
    """Products of rows with one another, from their bytes [N, C]: exact sums, the same on every machine."""

    def __init__(self, values: Tensor) -> None:
        self._values = values
        signed = values.numpy().view(np.int8) ^ np.int8(-128)  # the byte less 128
        self._packed = torch.ops.onednn.qlinear_prepack(torch.from_numpy(signed), None) if available() else None
        self._ones, self._zeros = torch.ones(len(values)), torch.zeros(len(values), dtype=torch.int64)
        if self._packed is None:  # sums of 1040 products are below 2^24: float32 holds them, in any order
            self._plain = signed.astype(np.float32 if values.shape[1] <= 1040 else np.float64)

    def among(self, indices: list[int]) -> NDArray[np.float64]:
        """[M, N] for M rows by number."""
        if self._packed is None:
            return (self._plain @ self._plain[indices].T).T.astype(np.float32).astype(np.float64)
        found = torch.ops.onednn.qlinear_pointwise(
            self._values[indices], 1.0, _ZERO, self._packed, self._ones, self._zeros, None, 1.0, 0, torch.float32,
            "none", [], ""
        )  # fmt: skip
        return found.numpy().astype(np.float64)


def worthwhile(num_units: int, dim: int) -> bool:
    """Whether a codebook of this size gains by it, here."""
    return num_units >= 64 and 64 <= dim <= _MAX_DIM and available()


@functools.cache
def available() -> bool:
    """Whether this processor and this torch have what is used here, compute it right, and are faster so."""
    try:
        if not (torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says once per process that its sparse matrices are in beta
            return _works()
    except (AttributeError, NotImplementedError, RuntimeError):  # another torch: not all of this is public interface
        return False


@torch.inference_mode()
def _works() -> bool:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(-_LEVELS, _LEVELS + 1, (256, 512), generator=generator)
    levels[0], levels[1] = _LEVELS, -_LEVELS  # pairs of products that do not fit 16 bits
    levels[:, 0] = _LEVELS  # steps of 1
    centroids, centre = levels.float(), torch.zeros(512)
    exact = Exact(-centroids.double(), centroids.double().square().sum(1) / 2, 4e3, 3e6)
    book = prepare(centroids, exact, centre)
    codes = encode(centroids, centre)
    products = _products(codes.values, book)
    right = torch.equal(products.double(), (levels.double() @ levels.double().T).float().double())
    ids = _decide(
        centroids.double(), np.full(256, 2), np.stack([np.arange(256) // 2, np.arange(256)], 1).ravel(), exact
    )
    if not right or ids[1:].tolist() != list(range(1, 256)):
        return False
    return _seconds(lambda: _products(codes.values, book)) < _seconds(lambda: centroids @ centroids.T)


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of five."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
