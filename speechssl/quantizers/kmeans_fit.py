"""Learning a k-means codebook from features that stream by. Lloyd 1982, seeded by k-means++.

Two modes. "sample": Lloyd over a sample of at most `max_frames` frames, chosen by hash (`kmeans_sample`); memory is
that sample. "full": the same to begin with, then exact Lloyd over all frames, one pass over the features per iteration;
memory grows with V C only, so the sample may be small.

N frames, C channels, V units. The result depends on the seed and the set of frames alone, not on their order, on blocks
or on threads: assignments are exact (`kmeans`), and sums are integers. Frames are rounded to multiples of 2^-p
(at least 26 bits below the largest value, 36 as a rule), added up exactly in float64 while they fit its 53 bits and in
int64 beyond. Only the draws of k-means++ use float32 distances, which another number of threads might round otherwise.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from speechssl.errors import ConfigError, DataError
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_init import plus_plus, refill
from speechssl.quantizers.kmeans_sample import FrameSample, FrameStatistics, num_bytes

Frames: TypeAlias = NDArray[np.float32] | Tensor
Features: TypeAlias = Callable[[], Iterable[tuple[str, Frames]]]  # (utterance id, frames [T, C]); called once per pass

_BLOCK = 4096  # frames assigned and added up together
_BATCH = 16384  # frames gathered from short utterances before they are worked on


@dataclass(frozen=True)
class Run:
    """One restart, or the full passes."""

    seed: int
    inertia: tuple[float, ...]  # mean squared distance of the frames to their centroids, before each update
    converged: bool  # the last update lowered it by less than the tolerance
    refilled: int  # empty units that were given a new centroid


@dataclass(frozen=True)
class FitReport:
    """What a fit did."""

    num_units: int
    dim: int
    mode: str
    seed: int
    frames_seen: int
    frames_sampled: int
    runs: tuple[Run, ...]  # restarts on the sample, then the full passes if there were any
    best_run: int
    inertia: float  # of the result, mean squared distance over the frames it was measured on
    usage: tuple[int, ...]  # frames per unit
    empty_units: int
    perplexity: float  # exp of the entropy of the usage: how many units are used as if evenly
    ram_bytes: int  # bound on what the fit holds beside the features of one utterance
    seconds: float
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Settings:
    num_units: int
    iterations: int
    tolerance: float
    trials: int
    device: str
    log: Callable[[str], None]


def fit(
    features: Features | Frames,
    *,
    num_units: int,
    seed: int = 0,
    mode: Literal["sample", "full"] = "sample",
    max_frames: int = 1_000_000,
    restarts: int = 1,
    iterations: int = 50,
    tolerance: float = 1e-4,
    init_frames: int | None = None,
    trials: int = 4,
    init: Tensor | None = None,
    device: str = "cpu",
    log: Callable[[str], None] = lambda line: None,
) -> tuple[KMeans, FitReport]:
    """A codebook of num_units centroids, and the report.

    features: frames [N, C], or a function that gives (utterance id, frames [T, C]) pairs anew for each pass (one pass
    in mode "sample"; one more per iteration in mode "full").
    max_frames: size of the sample. init_frames: how many of it k-means++ looks at (20 per unit, at least
    10 000). trials: its draws per centroid.
    restarts: runs on the sample from other seeds; the lowest inertia wins. tolerance: stop when an iteration lowers
    inertia by a smaller share. init: centroids [V, C] to start from in place of k-means++. log: gets a line per
    iteration.
    Raises DataError for too few distinct frames or bad values, ConfigError for settings that make no sense.
    """
    began = time.monotonic()
    init_frames = max(10_000, 20 * num_units) if init_frames is None else init_frames
    check_settings(num_units=num_units, max_frames=max_frames, restarts=restarts, iterations=iterations,
                   init_frames=init_frames, trials=trials)  # fmt: skip
    if mode not in ("sample", "full"):
        raise ConfigError(f"mode={mode!r}: choose sample or full")
    if init is not None and (restarts != 1 or len(init) != num_units):
        raise ConfigError(f"{len(init)} centroids to start from: they need num_units={len(init)} and one restart")
    source = features if callable(features) else lambda: [("", features)]
    settings = _Settings(num_units, iterations, tolerance, trials, device, log)
    sample, seen = _take_sample(source, max_frames, seed)
    if len(sample) < num_units:
        raise DataError(f"{seen.num_frames} frames cannot make {num_units} units; give more speech or ask for fewer")
    sampled = seen if len(sample) == seen.num_frames else _statistics(sample)
    on_device = sample.to(device)

    def in_memory() -> Iterator[Tensor]:
        return iter(on_device.split(_BLOCK))

    runs, models = [], []
    for number in range(restarts):
        name = f"restart {number + 1}/{restarts}" if restarts > 1 else "sample"
        spare, start = _seed(sample, settings, seed + number, init_frames, init)
        model, run, usage = _lloyd(in_memory, start, sampled, spare, settings, seed + number, name)
        runs.append(run)
        models.append((model, usage))
    best = min(range(restarts), key=lambda number: runs[number].inertia[-1])
    model, usage = models[best]
    if mode == "full" and len(sample) < seen.num_frames:
        model, run, usage = _lloyd(
            lambda: _blocks(source, device), model.centroids, seen, spare, settings, seed, "full"
        )
        runs.append(run)
        best = restarts
    counts = tuple(usage.tolist())
    dim = sample.shape[1]
    report = FitReport(
        num_units, dim, mode, seed, seen.num_frames, len(sample), tuple(runs), best,
        inertia=runs[best].inertia[-1], usage=counts, empty_units=counts.count(0), perplexity=_perplexity(counts),
        ram_bytes=num_bytes(min(max_frames, seen.num_frames), dim)
        + _working_bytes(num_units, dim, init_frames, trials),
        seconds=round(time.monotonic() - began, 3),
        settings={"max_frames": max_frames, "restarts": restarts, "iterations": iterations, "tolerance": tolerance,
                  "init_frames": init_frames, "trials": trials},
    )  # fmt: skip
    return KMeans(model.centroids.cpu()), report


def check_settings(**values: int) -> None:
    """ConfigError unless all are at least 1."""
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{name}={value} must be at least 1")


def _take_sample(source: Features, max_frames: int, seed: int) -> tuple[Tensor, FrameStatistics]:
    sample = FrameSample(max_frames, seed)
    for utterance_id, frames in source():
        sample.add(utterance_id, _as_array(frames))
    return sample.finish()


def _statistics(rows: Tensor) -> FrameStatistics:
    blocks = [block.numpy().astype(np.float64) for block in rows.split(_BLOCK)]
    squares = math.fsum(float(np.square(block).sum()) for block in blocks)
    return FrameStatistics(len(rows), max(float(np.abs(block).max()) for block in blocks), squares)


def _as_array(frames: Frames) -> NDArray[np.float32]:
    array = frames.detach().float().cpu().numpy() if isinstance(frames, Tensor) else np.asarray(frames)
    if array.ndim != 2:
        raise DataError(f"features must be [frames, channels], got shape {list(array.shape)}")
    return array.astype(np.float32, copy=False)


def _blocks(source: Features, device: str) -> Iterator[Tensor]:
    """The frames in blocks, short utterances joined."""
    waiting: list[NDArray[np.float32]] = []
    for _, frames in source():
        for start in range(0, len(frames), _BATCH):
            waiting.append(_as_array(frames[start : start + _BATCH]))
            if sum(map(len, waiting)) >= _BATCH:
                yield from torch.from_numpy(np.concatenate(waiting)).to(device).split(_BLOCK)
                waiting.clear()
    if waiting:
        yield from torch.from_numpy(np.concatenate(waiting)).to(device).split(_BLOCK)


def _seed(
    sample: Tensor, settings: _Settings, seed: int, init_frames: int, init: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The frames that k-means++ and refilling draw from, and the first centroids."""
    generator = Generator().manual_seed(seed)
    picked = torch.randperm(len(sample), generator=generator)[:init_frames] if len(sample) > init_frames else None
    spare = (sample if picked is None else sample[picked]).to(settings.device)
    if init is not None:
        return spare, init.to(spare)
    chosen = plus_plus(spare, settings.num_units, generator=generator, trials=settings.trials)
    if len(chosen) < settings.num_units:
        raise DataError(
            f"only {len(chosen)} of {len(spare)} frames differ: too few for {settings.num_units} units "
            "(silence, or one recording many times?)"
        )
    return spare, spare[chosen]


def _lloyd(
    blocks: Callable[[], Iterator[Tensor]],
    centroids: Tensor,
    statistics: FrameStatistics,
    spare: Tensor,
    settings: _Settings,
    seed: int,
    name: str,
) -> tuple[KMeans, Run, Tensor]:
    """Centroids after at most `iterations` updates, how it went, and the usage [V] under these centroids."""
    generator = Generator().manual_seed(seed)
    history: list[float] = []
    refilled, converged = 0, False
    while True:
        model = KMeans(centroids)
        counts, sums = _assign(blocks(), model, statistics)
        history.append(_inertia(model.centroids, counts, sums, statistics))
        settings.log(f"{name}, iteration {len(history) - 1}: inertia {history[-1]:.6g} per frame")
        converged = len(history) > 1 and history[-2] - history[-1] <= settings.tolerance * history[-2]
        if converged or len(history) > settings.iterations:
            return model, Run(seed, tuple(history), converged, refilled), counts.cpu()
        means = sums / counts.clamp(min=1).unsqueeze(1)
        centroids = torch.where(counts.unsqueeze(1) > 0, means, model.centroids.double()).float()
        empty = (counts == 0).nonzero().flatten()
        if len(empty):
            refilled += refill(centroids, empty, spare.to(centroids.device), generator=generator)


def _assign(blocks: Iterator[Tensor], model: KMeans, statistics: FrameStatistics) -> tuple[Tensor, Tensor]:
    """Frames per unit [V] int64 and their sums [V, C] float64, independent of the order of frames and blocks."""
    bits = min(36, 62 - statistics.num_frames.bit_length())  # so that int64 holds any sum of that many frames
    shift = bits - math.frexp(statistics.largest)[1]  # frames times 2^shift are below 2^bits
    room = 1 << (53 - bits)  # frames that float64 adds up without rounding
    device = model.centroids.device
    counts = torch.zeros(model.size, dtype=torch.int64, device=device)
    total = torch.zeros(model.size, model.dim, dtype=torch.int64, device=device)
    partial = torch.zeros(model.size, model.dim, dtype=torch.float64, device=device)
    used = num_frames = 0
    for block in blocks:
        for rows in block.split(min(_BLOCK, room)):
            if used + len(rows) > room:
                total += partial.long()
                partial.zero_()
                used = 0
            ids = model.encode(rows)
            counts += torch.bincount(ids, minlength=model.size)
            partial.index_add_(0, ids, rows.double().mul_(2.0**shift).round_())
            used += len(rows)
            num_frames += len(rows)
    if num_frames != statistics.num_frames:
        raise DataError(f"the features gave {statistics.num_frames} frames at first and {num_frames} later")
    return counts, (total + partial.long()).double() * 2.0**-shift


def _inertia(centroids: Tensor, counts: Tensor, sums: Tensor, statistics: FrameStatistics) -> float:
    """Mean squared distance, from the sums: sum |x|² - 2 sum S·c + sum n |c|², all in float64."""
    wide = centroids.double()
    total = statistics.square_sum - float((2 * sums * wide - counts.unsqueeze(1) * wide.square()).sum())
    return max(0.0, total / statistics.num_frames)


def _perplexity(counts: tuple[int, ...]) -> float:
    total = sum(counts)
    return math.exp(-sum(n / total * math.log(n / total) for n in counts if n))


def _working_bytes(num_units: int, dim: int, init_frames: int, trials: int) -> int:
    """Sums and codebooks, blocks in work, and the frames that k-means++ looks at with their distances."""
    codebooks = num_units * dim * (8 * 4 + 4 * 4)
    blocks = 2 * _BATCH * dim * 4 + _BLOCK * (dim * 8 + num_units * 8)
    return codebooks + blocks + init_frames * (2 * dim * 4 + 3 * trials * 4 + 16)
