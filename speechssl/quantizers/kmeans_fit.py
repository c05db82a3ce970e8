"""Learning a k-means codebook from features that stream by. Lloyd 1982, seeded by k-means++.

Two modes. "sample": Lloyd over a sample of at most `max_frames` frames, chosen by hash (`kmeans_sample`); memory is
that sample. "full": the same to begin with, then exact Lloyd over all frames, one pass over the features per iteration;
memory grows with V C only, so the sample may be small. A large sample is begun on a part of itself.

N frames, C channels, V units. The result depends on the seed and the set of frames alone, not on their order, blocks,
threads or how many processes share the work (`kmeans_parallel`): assignments are exact (`kmeans`), sums are of whole
numbers (`kmeans_lloyd`), and so are the distances that k-means++ draws by (`kmeans_init`).
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from speechssl.errors import ConfigError, DataError
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_init import plus_plus
from speechssl.quantizers.kmeans_lloyd import BLOCK, Held, Run, State, Streamed, first_state, lloyd
from speechssl.quantizers.kmeans_parallel import ALONE, Processes
from speechssl.quantizers.kmeans_sample import FrameSample, FrameStatistics, Sample, num_bytes

Frames: TypeAlias = NDArray[np.float32] | Tensor
Features: TypeAlias = Callable[[], Iterable[tuple[str, Frames]]]  # (utterance id, frames [T, C]); called once per pass

_BATCH = 16384  # frames gathered from short utterances before they are worked on
_START = 60  # frames per unit that a large sample is begun on


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
    ram_bytes: int  # bound on what the fit holds beside the features of one utterance, in each process
    seconds: float
    settings: dict[str, Any] = field(default_factory=dict)


class Progress(Protocol):
    """Where the full passes are kept between them, for a fit that was ended to go on from."""

    def load(self) -> Mapping[str, Tensor] | None:
        """What was saved last by a fit of the same features with the same settings, if anything."""
        ...

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """In place of what was saved before."""
        ...


@dataclass(frozen=True)
class _Settings:
    num_units: int
    seed: int
    restarts: int
    iterations: int
    tolerance: float
    trials: int
    init_frames: int
    start_frames: int
    device: str
    log: Callable[[str], None]
    processes: Processes


@dataclass(frozen=True)
class _Sampled:
    """Where the sample's part ends and the full passes go on."""

    seen: FrameStatistics
    sampled: int
    runs: tuple[Run, ...]
    best: int
    usage: tuple[int, ...]
    state: State  # of the full passes
    spare: Tensor


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
    start_frames: int | None = None,
    trials: int = 4,
    init: Tensor | None = None,
    device: str = "cpu",
    log: Callable[[str], None] = lambda line: None,
    processes: Processes = ALONE,
    progress: Progress | None = None,
) -> tuple[KMeans, FitReport]:
    """A codebook of num_units centroids, and the report.

    features: frames [N, C], or a function that gives (utterance id, frames [T, C]) pairs anew for each pass (one pass
    in mode "sample"; one more per iteration in mode "full"); with several processes, each one's own part.
    max_frames: size of the sample. init_frames: how many of it k-means++ looks at (10 per unit, at least
    5000). trials: its draws per centroid. start_frames: iterate on that many frames first, where the sample has four
    times as many (60 per unit; 0: never).
    restarts: runs on the sample from other seeds; the lowest inertia wins. tolerance: stop when an iteration lowers
    inertia by a smaller share. init: centroids [V, C] to start from in place of k-means++ and a first part. log: gets a
    line per iteration. progress: keeps the full passes.
    Raises DataError for too few distinct frames or bad values, ConfigError for settings that make no sense.
    """
    began = time.monotonic()
    init_frames = max(5_000, 10 * num_units) if init_frames is None else init_frames
    start_frames = _START * num_units if start_frames is None else start_frames
    check_settings(num_units=num_units, max_frames=max_frames, restarts=restarts, iterations=iterations,
                   init_frames=init_frames, trials=trials)  # fmt: skip
    if mode not in ("sample", "full"):
        raise ConfigError(f"mode={mode!r}: choose sample or full")
    if init is not None and (restarts != 1 or len(init) != num_units):
        raise ConfigError(f"{len(init)} centroids to start from: they need num_units={len(init)} and one restart")
    source = features if callable(features) else lambda: [("", features)]
    settings = _Settings(num_units, seed, restarts, iterations, tolerance, trials, init_frames, start_frames, device,
                         log, processes)  # fmt: skip
    there = _load(progress, processes) if mode == "full" else None
    if there:
        log(f"full: going on after iteration {len(there.state.inertia)} of a fit that was ended")
    done = there or _on_sample(source, max_frames, settings, init)
    runs, best, usage, centroids = done.runs, done.best, done.usage, done.state.centroids
    if mode == "full" and done.sampled < done.seen.num_frames:
        if progress and not there and processes.rank == 0:
            progress.save(_pack(done))
        model, run, usage = _full_passes(source, done, settings, progress)
        runs, best, centroids = (*runs, run), len(runs), model.centroids
    dim = centroids.shape[1]
    report = FitReport(
        num_units, dim, mode, seed, done.seen.num_frames, done.sampled, runs, best,
        inertia=runs[best].inertia[-1], usage=usage, empty_units=usage.count(0), perplexity=_perplexity(usage),
        ram_bytes=num_bytes(min(max_frames, done.seen.num_frames), dim)
        + _working_bytes(num_units, dim, init_frames + start_frames, trials),
        seconds=round(time.monotonic() - began, 3),
        settings={"max_frames": max_frames, "restarts": restarts, "iterations": iterations, "tolerance": tolerance,
                  "init_frames": init_frames, "start_frames": start_frames, "trials": trials},
    )  # fmt: skip
    return KMeans(centroids.cpu()), report


def check_settings(**values: int) -> None:
    """ConfigError unless all are at least 1."""
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{name}={value} must be at least 1")


def _on_sample(source: Features, max_frames: int, settings: _Settings, init: Tensor | None) -> _Sampled:
    sample = _take_sample(source, max_frames, settings)
    seen = sample.seen
    if sample.size < settings.num_units:
        raise DataError(
            f"{seen.num_frames} frames cannot make {settings.num_units} units; give more speech or ask for fewer"
        )
    whole = sample.size == seen.num_frames
    data = Held(sample.rows.to(settings.device), seen if whole else _statistics(sample, sample.size, settings),
                settings.num_units)  # fmt: skip
    results = []
    for number in range(settings.restarts):
        seed = settings.seed + number
        name = f"restart {number + 1}/{settings.restarts}" if settings.restarts > 1 else "sample"
        spare, start = _seed(sample, settings, seed, init)
        if init is None and 0 < 4 * settings.start_frames <= sample.size:
            start = _begin(sample, start, spare, settings, seed, name)
        data.start_again()
        results.append((*_lloyd(data, first_state(start, seed), spare, settings, seed, name), spare))
    best = min(range(len(results)), key=lambda number: results[number][1].inertia[-1])
    model, _, usage, _ = results[best]
    runs = tuple(run for _, run, _, _ in results)
    state = first_state(model.centroids, settings.seed)
    return _Sampled(seen, sample.size, runs, best, usage, state, results[-1][3])


def _take_sample(source: Features, max_frames: int, settings: _Settings) -> Sample:
    sample = FrameSample(max_frames, settings.seed)
    for utterance_id, frames in source():
        sample.add(utterance_id, as_array(frames))
    return sample.finish(settings.processes)


def _statistics(sample: Sample, size: int, settings: _Settings) -> FrameStatistics:
    """Of the first `size` frames of the whole sample."""
    rows = _first(sample, size)
    blocks = [rows[start : start + BLOCK].numpy().astype(np.float64) for start in range(0, len(rows), BLOCK)]
    largest = max((float(np.abs(block).max()) for block in blocks), default=0.0)
    squares = sum(round(float(square) * 2.0**40) for block in blocks for square in np.square(block).sum(1))
    facts = settings.processes.gather_json([largest, squares])
    return FrameStatistics(size, max(peak for peak, _ in facts), sum(total for _, total in facts) / 2.0**40)


def _first(sample: Sample, size: int) -> Tensor:
    """Those of the sample's first rows that are held here."""
    return sample.rows[: int(np.searchsorted(sample.places, size))]


def _begin(
    sample: Sample, start: Tensor, spare: Tensor, settings: _Settings, seed: int, name: str
) -> Tensor:  # fmt: skip
    """Centroids after iterations on the first frames of the sample: they cost little and come most of the way."""
    size = settings.start_frames
    rows = _first(sample, size).to(settings.device)
    data = Held(rows, _statistics(sample, size, settings), settings.num_units)
    model, _, _ = _lloyd(data, first_state(start, seed), spare, settings, seed, f"{name}, first {size} frames")
    return model.centroids


def _seed(sample: Sample, settings: _Settings, seed: int, init: Tensor | None) -> tuple[Tensor, Tensor]:
    """The frames that k-means++ and refilling draw from, and the first centroids."""
    generator = Generator().manual_seed(seed)
    picked = torch.arange(sample.size)
    if sample.size > settings.init_frames:
        picked = torch.randperm(sample.size, generator=generator)[: settings.init_frames]
    spare = _collect(sample, picked.numpy(), settings.processes)
    if init is not None:
        return spare, init.to(settings.device)
    chosen = plus_plus(spare, settings.num_units, generator=generator, trials=settings.trials)
    if len(chosen) < settings.num_units:
        raise DataError(
            f"only {len(chosen)} of {len(spare)} frames differ: too few for {settings.num_units} units "
            "(silence, or one recording many times?)"
        )
    return spare, settings.processes.share(spare[chosen]).to(settings.device)


def _collect(sample: Sample, wanted: NDArray[np.int64], processes: Processes) -> Tensor:
    """The rows of these numbers, from whoever holds them."""
    if processes.size == 1:
        return sample.rows[torch.from_numpy(wanted)]
    rows = torch.zeros(len(wanted), sample.rows.shape[1])
    here = np.flatnonzero(np.isin(wanted, sample.places))
    rows[torch.from_numpy(here)] = sample.rows[torch.from_numpy(np.searchsorted(sample.places, wanted[here]))]
    return processes.sum(rows.view(torch.int32)).view(torch.float32)  # all others have zero bits there


def _lloyd(
    data: Held | Streamed,
    state: State,
    spare: Tensor,
    settings: _Settings,
    seed: int,
    name: str,
    done: Callable[[State], None] = lambda state: None,
) -> tuple[KMeans, Run, tuple[int, ...]]:
    model, run, usage = lloyd(
        data, state, spare, settings.processes, seed=seed, iterations=settings.iterations,
        tolerance=settings.tolerance, done=done,
        log=lambda number, value: settings.log(f"{name}, iteration {number}: inertia {value:.6g} per frame"),
    )  # fmt: skip
    return model, run, tuple(usage.tolist())


def _full_passes(
    source: Features, sampled: _Sampled, settings: _Settings, progress: Progress | None
) -> tuple[KMeans, Run, tuple[int, ...]]:
    def keep(state: State) -> None:
        if progress and settings.processes.rank == 0:
            progress.save(_pack(_Sampled(**{**vars(sampled), "state": state})))

    state = sampled.state
    state = State(state.centroids.to(settings.device), state.inertia, state.refilled, state.generator)
    data = Streamed(lambda: _blocks(source, settings.device), sampled.seen)
    return _lloyd(data, state, sampled.spare, settings, settings.seed, "full", keep)


def _blocks(source: Features, device: str) -> Iterator[Tensor]:
    """The frames in blocks, short utterances joined."""
    waiting: list[NDArray[np.float32]] = []
    for _, frames in source():
        for start in range(0, len(frames), _BATCH):
            waiting.append(as_array(frames[start : start + _BATCH]))
            if sum(map(len, waiting)) >= _BATCH:
                yield from torch.from_numpy(np.concatenate(waiting)).to(device).split(BLOCK)
                waiting.clear()
    if waiting:
        yield from torch.from_numpy(np.concatenate(waiting)).to(device).split(BLOCK)


def as_array(frames: Frames) -> NDArray[np.float32]:
    """Features [T, C] as float32; DataError for another shape."""
    array = frames.detach().float().cpu().numpy() if isinstance(frames, Tensor) else np.asarray(frames)
    if array.ndim != 2:
        raise DataError(f"features must be [frames, channels], got shape {list(array.shape)}")
    return array.astype(np.float32, copy=False)


def _pack(sampled: _Sampled) -> dict[str, Tensor]:
    """As tensors; the inverse of `_unpack`."""
    state = sampled.state
    facts = {
        "seen": asdict(sampled.seen), "sampled": sampled.sampled, "runs": [asdict(run) for run in sampled.runs],
        "best": sampled.best, "usage": sampled.usage, "inertia": state.inertia, "refilled": state.refilled,
    }  # fmt: skip
    text = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
    return {"facts": text, "centroids": state.centroids.cpu(), "generator": state.generator, "spare": sampled.spare}


def _unpack(tensors: Mapping[str, Tensor]) -> _Sampled:
    facts = json.loads(bytes(tensors["facts"].numpy()))
    state = State(tensors["centroids"], tuple(facts["inertia"]), facts["refilled"], tensors["generator"])
    runs = tuple(Run(**{**run, "inertia": tuple(run["inertia"])}) for run in facts["runs"])
    return _Sampled(FrameStatistics(**facts["seen"]), facts["sampled"], runs, facts["best"], tuple(facts["usage"]),
                    state, tensors["spare"])  # fmt: skip


def _load(progress: Progress | None, processes: Processes) -> _Sampled | None:
    """What process 0 finds, for all."""
    if progress is None:
        return None
    found = progress.load() if processes.rank == 0 else None
    if processes.size == 1:
        return _unpack(found) if found else None
    names = ("facts", "centroids", "generator", "spare")
    layout = {name: (str(found[name].dtype), list(found[name].shape)) for name in names} if found else None
    layout = processes.gather_json(layout)[0]
    if layout is None:
        return None
    kinds = {str(kind): kind for kind in (torch.uint8, torch.float32)}
    empty = {name: torch.zeros(shape, dtype=kinds[kind]) for name, (kind, shape) in layout.items()}
    return _unpack({name: processes.share(found[name] if found else empty[name]) for name in names})


def _perplexity(counts: tuple[int, ...]) -> float:
    total = sum(counts)
    return math.exp(-sum(n / total * math.log(n / total) for n in counts if n))


def _working_bytes(num_units: int, dim: int, init_frames: int, trials: int) -> int:
    """Sums and codebooks, blocks in work, and the frames that k-means++ looks at with their distances."""
    codebooks = num_units * dim * (8 * 6 + 4 * 4)
    blocks = 2 * _BATCH * dim * 4 + BLOCK * (dim * 3 * 8 + num_units * 4 * 8)
    return codebooks + blocks + init_frames * (2 * dim * 4 + dim + 3 * trials * 8 + 24)
