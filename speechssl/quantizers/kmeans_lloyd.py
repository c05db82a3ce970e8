"""Lloyd's iterations over frames in memory or streaming by, in one process or several, exactly.

N frames, C channels, V units. Frames are rounded to multiples of 2^-p (at least 26 bits below the largest value, 36 as
a rule) and added up as whole numbers: in float64 while they fit its 53 bits, in int64 beyond. So the sums depend on
neither the order of the frames nor who adds them, and frames in memory are added again only when they change units.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from speechssl.errors import DataError
from speechssl.quantizers import kmeans_int8
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_init import refill
from speechssl.quantizers.kmeans_int8 import Codes
from speechssl.quantizers.kmeans_parallel import Processes
from speechssl.quantizers.kmeans_sample import FrameStatistics

BLOCK = 4096  # frames assigned and added up together


@dataclass(frozen=True)
class Run:
    """One restart, or the full passes."""

    seed: int
    inertia: tuple[float, ...]  # mean squared distance of the frames to their centroids, before each update
    converged: bool  # the last update lowered it by less than the tolerance
    refilled: int  # empty units that were given a new centroid


@dataclass(frozen=True)
class State:
    """Between two iterations: all that the rest of them depends on."""

    centroids: Tensor  # [V, C] float32
    inertia: tuple[float, ...]
    refilled: int
    generator: Tensor  # its state


class Data(Protocol):
    """The frames of this process."""

    statistics: FrameStatistics  # of all processes' frames

    def tally(self, model: KMeans) -> tuple[Tensor, Tensor]:
        """Frames per unit [V] and their sums [V, C] in units of 2^-shift, int64 on the CPU."""
        ...


def lloyd(
    data: Data,
    state: State,
    spare: Tensor,
    processes: Processes,
    *,
    seed: int,
    iterations: int,
    tolerance: float,
    log: Callable[[int, float], None],
    done: Callable[[State], None] = lambda state: None,
) -> tuple[KMeans, Run, Tensor]:
    """Centroids after at most `iterations` updates, how it went, and the usage [V] under these centroids.

    spare: frames that empty units are moved to. log: gets the number of each iteration and its inertia. done: gets the
    state after each update.
    """
    generator = Generator()
    generator.set_state(state.generator)
    history, refilled, centroids = list(state.inertia), state.refilled, state.centroids
    statistics, scale = data.statistics, 2.0 ** -shift(data.statistics)
    while True:
        model = KMeans(centroids)
        counts, sums = map(processes.sum, data.tally(model))
        if int(counts.sum()) != statistics.num_frames:
            raise DataError(f"the features gave {statistics.num_frames} frames at first and {int(counts.sum())} later")
        sums = sums.double() * scale
        inertia = torch.tensor([_inertia(model.centroids.cpu(), counts, sums, statistics)], dtype=torch.float64)
        history.append(float(processes.share(inertia)))  # one answer for all to stop by
        log(len(history) - 1, history[-1])
        converged = len(history) > 1 and history[-2] - history[-1] <= tolerance * history[-2]
        if converged or len(history) > iterations:
            return model, Run(seed, tuple(history), converged, refilled), counts
        means = sums / counts.clamp(min=1).unsqueeze(1)
        updated = torch.where(counts.unsqueeze(1) > 0, means, model.centroids.cpu().double()).float()
        empty = (counts == 0).nonzero().flatten()
        if len(empty):
            refilled += refill(updated, empty, spare, generator=generator)
        centroids = processes.share(updated).to(centroids.device)
        done(State(centroids, tuple(history), refilled, generator.get_state()))


def first_state(centroids: Tensor, seed: int) -> State:
    """Before the first iteration."""
    return State(centroids, (), 0, Generator().manual_seed(seed).get_state())


def shift(statistics: FrameStatistics) -> int:
    """Frames times 2^shift are the whole numbers that are added up."""
    return _bits(statistics) - math.frexp(statistics.largest)[1]


def _bits(statistics: FrameStatistics) -> int:
    """Of the largest whole number: int64 holds any sum of that many frames."""
    return min(36, 62 - statistics.num_frames.bit_length())


class _Sums:
    """Frames per unit and their sums."""

    def __init__(self, num_units: int, dim: int, statistics: FrameStatistics, device: torch.device) -> None:
        self._room = 1 << (53 - _bits(statistics))  # frames that float64 adds up without rounding
        self._scale, self._used = 2.0 ** shift(statistics), 0
        self._counts = torch.zeros(num_units, dtype=torch.int64, device=device)
        self._total = torch.zeros(num_units, dim, dtype=torch.int64, device=device)
        self._partial = torch.zeros(num_units, dim, dtype=torch.float64, device=device)

    def add(self, rows: Tensor, ids: Tensor, instead_of: Tensor | None = None) -> None:
        """Count rows [N, C] for units ids [N], and no longer for the units that they were counted for before."""
        for start in range(0, len(rows), min(BLOCK, self._room // 2)):
            part = slice(start, start + min(BLOCK, self._room // 2))
            whole = rows[part].double().mul_(self._scale).round_()
            if self._used + 2 * len(whole) > self._room:
                self._carry()
            self._used += 2 * len(whole)
            self._partial.index_add_(0, ids[part], whole)
            if instead_of is not None:
                self._partial.index_add_(0, instead_of[part], whole, alpha=-1)
        self._counts += torch.bincount(ids, minlength=len(self._counts))
        if instead_of is not None:
            self._counts -= torch.bincount(instead_of, minlength=len(self._counts))

    def result(self) -> tuple[Tensor, Tensor]:
        self._carry()
        return self._counts.cpu(), self._total.cpu()

    def _carry(self) -> None:
        self._total += self._partial.long()
        self._partial.zero_()
        self._used = 0


class Held:
    """Frames in memory, with their bytes where these help (`kmeans_int8`) and the units they were in last."""

    def __init__(self, rows: Tensor, statistics: FrameStatistics, num_units: int) -> None:
        self.statistics = statistics
        self._rows, self._num_units = rows, num_units
        self._ids: Tensor | None = None
        self._sums = self._new_sums()
        self._centre = rows[:BLOCK].mean(0) if len(rows) else rows.new_zeros(rows.shape[1])
        by_bytes = rows.device.type == "cpu" and kmeans_int8.worthwhile(num_units, rows.shape[1])
        self._codes = _encode(rows, self._centre) if by_bytes else None

    def start_again(self) -> None:
        """Forget the units: what comes next has nothing to do with the last centroids."""
        self._ids, self._sums = None, self._new_sums()

    def tally(self, model: KMeans) -> tuple[Tensor, Tensor]:
        """As `Data` says."""
        book = model.codebook(self._centre) if self._codes is not None else None
        before, after = self._ids, []
        for start in range(0, len(self._rows), BLOCK):
            part = slice(start, start + BLOCK)
            rows = self._rows[part]
            if self._codes is not None and book is not None:
                ids = model.encode_coded(rows, self._codes[part], book)
            else:
                ids = model.encode(rows)
            if before is None:
                self._sums.add(rows, ids)
            else:
                moved = (ids != before[part]).nonzero().flatten()
                self._sums.add(rows[moved], ids[moved], before[part][moved])
            after.append(ids)
        self._ids = torch.cat(after) if after else None
        return self._sums.result()

    def _new_sums(self) -> _Sums:
        return _Sums(self._num_units, self._rows.shape[1], self.statistics, self._rows.device)


class Streamed:
    """Frames that come anew, in blocks, for each iteration."""

    def __init__(self, blocks: Callable[[], Iterator[Tensor]], statistics: FrameStatistics) -> None:
        self.statistics, self._blocks = statistics, blocks

    def tally(self, model: KMeans) -> tuple[Tensor, Tensor]:
        """As `Data` says."""
        sums = _Sums(model.size, model.dim, self.statistics, model.centroids.device)
        for rows in self._blocks():
            sums.add(rows, model.encode(rows))
        return sums.result()


def _encode(rows: Tensor, centre: Tensor) -> Codes:
    values = torch.empty(rows.shape, dtype=torch.uint8)
    rest = torch.empty(3, len(rows), 1)
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        codes = kmeans_int8.encode(rows[part], centre)
        values[part], rest[0, part], rest[1, part], rest[2, part] = codes.values, codes.step, codes.error, codes.length
    return Codes(values, *rest)


def _inertia(centroids: Tensor, counts: Tensor, sums: Tensor, statistics: FrameStatistics) -> float:
    """Mean squared distance, from the sums: sum |x|² - 2 sum S·c + sum n |c|², all in float64, in one fixed order."""
    wide = centroids.double().numpy()
    parts = 2 * sums.numpy() * wide - counts.numpy()[:, None] * np.square(wide)
    return max(0.0, (statistics.square_sum - float(parts.sum())) / statistics.num_frames)
