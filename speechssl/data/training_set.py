"""A corpus to train on: how long each utterance is, its labels, and batches of its samples.

Memory: 8 bytes per utterance beside what the corpus itself holds, its labels (2 bytes per frame) and its targets
(4 bytes per symbol).
"""

import math
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from speechssl.audio.augment import Drawing, augment
from speechssl.data.batch import Batch
from speechssl.data.batch_plan import Batching, plan_batches
from speechssl.data.corpus import Corpus, probe_utterance, read_utterance
from speechssl.data.frame_labels import FrameLabels
from speechssl.data.pitch_files import FramePitch
from speechssl.data.targets import Encode, Targets, make_targets
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, DataError

Failures = tuple[tuple[str, str], ...]  # id and reason
Lengths = Literal["headers", "stated"]  # where the seconds of each utterance come from
_SEED = 0x9E37_79B9_7F4A_7C15  # odd and without pattern: keeps the seeds of neighbouring rows and epochs apart


@dataclass(frozen=True)
class TrainingSet:
    """Utterances with their lengths, ready to be cut into batches."""

    corpus: Corpus
    sample_rate: int
    seconds: np.ndarray  # [N] float64; 0 where the recording cannot be used
    failures: Failures = ()  # id and reason, of those that cannot be used
    labels: FrameLabels | None = None
    groups: np.ndarray | None = None  # [N] int64
    group_names: tuple[str, ...] = ()
    normalize: bool = False  # zero mean and unit variance of every whole utterance
    noise: Corpus | None = None  # recordings of which each batch gets one, for objectives that mix, or augmentation
    augment: Drawing | None = None  # what happens to recordings on their way
    targets: Targets | None = None  # what is said
    tasks: Mapping[str, Targets] = field(default_factory=dict)  # the same of auxiliary tasks, by name
    pitch: FramePitch | None = None

    @property
    def hours(self) -> float:
        """Of what can be used."""
        return float(self.seconds.sum()) / 3600


def open_training_set(
    corpus: Corpus, *, sample_rate: int, normalize: bool = False, labels: Path | None = None, rate_hz: float = 50.0,
    group_by: str | None = None, noise: Corpus | None = None, threads: int = 8, lengths: Lengths = "headers",
    augment: Drawing | None = None, encode: Encode | None = None, longest_s: float = math.inf,
    pitch: Path | None = None, pitch_scaled: bool = True, pitch_above_hz: float | None = None,
) -> TrainingSet:  # fmt: skip
    """Look at every recording's header; those that cannot be used go to `failures`.

    lengths="stated": no recording is looked at whose length the corpus states (start and end, or the extra value
    utt2dur). Batches are planned by it; what proves unreadable is found when its turn comes.

    labels: units per utterance at rate_hz, as `speechssl units` writes them (not merged); an utterance without labels
    cannot be used; likewise pitch, a folder that `speechssl pitch` wrote (not scaled: with the speaker's own spread;
    pitch_above_hz: from there, whoever speaks).
    group_by: the name of an extra value (such as "utt2lang"), or "speaker". augment: labels stay those of the recording
    as it is; a stretched one is out of step with them. encode: from an utterance's text to its targets; one that has
    none, or is longer than longest_s, cannot be used (see `data.targets`).
    Raises DataError where nothing can be used.
    """
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(_stated_or_seconds if lengths == "stated" else _seconds, corpus.utterances))
    utterances = corpus.utterances
    failures = [(u.id, f) for u, f in zip(utterances, found, strict=True) if isinstance(f, str)]
    seconds = np.array([0.0 if isinstance(f, str) else f for f in found])
    frame_labels = None
    if labels is not None:
        frame_labels = FrameLabels.read(labels, [u.id for u in utterances], rate_hz)
        without = (seconds > 0) & (frame_labels.counts == 0)
        failures += [(utterances[int(i)].id, "no labels") for i in np.flatnonzero(without)]
        seconds[without] = 0
    targets = None
    if encode is not None:
        targets, without_target = make_targets(utterances, seconds, encode, rate_hz=rate_hz, longest_s=longest_s)
        failures += [(utterances[row].id, reason) for row, reason in without_target]
        seconds[[row for row, _ in without_target]] = 0
    frame_pitch = None
    if pitch is not None:
        frame_pitch = FramePitch.read(pitch, [u.id for u in utterances], rate_hz, scaled=pitch_scaled,
                                      above_hz=pitch_above_hz)  # fmt: skip
        without = (seconds > 0) & (frame_pitch.counts == 0)
        failures += [(utterances[int(i)].id, "no pitch") for i in np.flatnonzero(without)]
        seconds[without] = 0
    if not seconds.any():
        reasons = ", ".join(sorted({reason for _, reason in failures})[:3])
        raise DataError(f"{corpus.source}: none of {len(utterances)} utterances can be used ({reasons})")
    groups, names = (None, ()) if group_by is None else _groups(utterances, group_by)
    return TrainingSet(corpus, sample_rate, seconds, tuple(failures), frame_labels, groups, names, normalize,
                       noise, augment, targets, pitch=frame_pitch)  # fmt: skip


def _seconds(utterance: Utterance) -> float | str:
    try:
        whole = probe_utterance(utterance).duration_s
    except AudioError as error:
        return error.code
    return max(0.0, min(utterance.end_s or whole, whole) - (utterance.start_s or 0.0))


def _stated_or_seconds(utterance: Utterance) -> float | str:
    start, stated = utterance.start_s or 0.0, (utterance.extra or {}).get("utt2dur")
    if utterance.end_s is not None:
        return max(0.0, utterance.end_s - start)
    if stated is None:
        return _seconds(utterance)
    try:
        seconds = float(stated)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(f"utterance {utterance.id!r} has utt2dur {stated!r}, which is no number of seconds")
    return seconds


def _groups(utterances: Sequence[Utterance], name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    values = []
    for utterance in utterances:
        value = utterance.speaker if name == "speaker" else (utterance.extra or {}).get(name)
        if value is None:
            raise DataError(f"utterance {utterance.id!r} has no {name} to group by")
        values.append(value)
    names, groups = np.unique(values, return_inverse=True)
    return groups.astype(np.int64), tuple(map(str, names))


@dataclass(frozen=True)
class Place:
    """Where in the data a training is: the next batch of an epoch."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Loaded:
    """A batch, what could not be read for it, and the place after it."""

    batch: Batch | None  # None where nothing could be read
    failures: Failures
    next: Place


@dataclass
class Batches:
    """Batches from a place on, without end, for one of `world` processes: it gets every world-th one.

    The last batches of an epoch that do not go round are left out, so that all processes take equally many. workers:
    processes that decode; 0 in this one. The batches are the same whatever it is.
    """

    data: TrainingSet
    batching: Batching
    seed: int
    hop: int
    rank: int = 0
    world: int = 1
    workers: int = 0
    together: int = 1  # batches of one update: an epoch is a whole number of updates

    def updates_per_epoch(self, epoch: int = 0) -> int:
        """How many updates an epoch has."""
        return len(self._plan(epoch)) // (self.together * self.world)

    def start(self, place: Place) -> Iterator[Loaded]:
        """Batches from `place` on; a place is a multiple of what all processes take in one update.

        Raises DataError where an epoch has not enough batches for one update.
        """
        epoch, first = place.epoch, place.batch
        while True:
            batches = self._plan(epoch)
            step = self.together * self.world
            usable = len(batches) // step * step
            if not usable:
                raise DataError(f"an epoch has {len(batches)} batches and an update takes {step}: make batches "
                                "shorter (data.batching.seconds), or give more speech")  # fmt: skip
            numbers = range(first + self.rank, usable, self.world)
            for number, loaded in zip(numbers, self._load(batches, numbers, epoch), strict=True):
                after = number - self.rank + self.world
                yield Loaded(*loaded, Place(epoch, after) if after < usable else Place(epoch + 1, 0))
            epoch, first = epoch + 1, 0

    def once(self) -> Iterator[Loaded]:
        """This process's batches of one epoch, none left out, the same ones every time: for validation."""
        batches = self._plan(0)
        numbers = range(self.rank, len(batches), self.world)
        for number, loaded in zip(numbers, self._load(batches, numbers, 0), strict=True):
            yield Loaded(*loaded, Place(0, number))

    def _plan(self, epoch: int) -> list[np.ndarray]:
        return plan_batches(self.data.seconds, self.batching, seed=self.seed, epoch=epoch, groups=self.data.groups)

    def _load(
        self, batches: list[np.ndarray], numbers: Sequence[int], epoch: int
    ) -> Iterator[tuple[Batch | None, Failures]]:
        """Batches by number, read ahead by the workers, in order."""
        data = self.data
        limit = int(self.batching.crop_s * data.sample_rate)
        reader = _Reader(data.sample_rate, limit, self.hop, data.normalize, data.augment)
        orders = _Orders(self, batches, numbers, epoch)
        # Forked, as this loader's users expect: a stop sent to the whole group would end a fork server and its workers.
        loader: DataLoader[_Read] = DataLoader(
            reader, batch_size=None, sampler=orders, num_workers=self.workers,
            multiprocessing_context="fork" if self.workers else None,
            prefetch_factor=4 if self.workers else None, worker_init_fn=_ignore_signals,
        )  # fmt: skip
        for number, read in zip(numbers, loader, strict=True):
            yield self._batch(batches[number], read), read.failures

    def _batch(self, rows: np.ndarray, read: "_Read") -> Batch | None:
        """What was read with its labels and groups."""
        batch, kept = read.batch, rows[list(read.kept)]
        if batch is None:
            return None
        if self.data.groups is not None:
            batch = replace(batch, groups=torch.from_numpy(self.data.groups[kept]))
        if self.data.targets is not None:
            batch = replace(batch, targets=self.data.targets.padded(kept))
        if self.data.tasks:
            batch = replace(batch, tasks={name: task.padded(kept) for name, task in self.data.tasks.items()})
        if self.data.pitch is not None:
            tracks = [
                torch.from_numpy(self.data.pitch.of(row)[start // self.hop :])
                for row, start in zip(kept.tolist(), read.starts, strict=True)
            ]
            batch = replace(batch, pitch=pad_sequence(tracks, batch_first=True))
        if self.data.labels is None:
            return batch
        labels = [
            torch.from_numpy(self.data.labels.of(row)[start // self.hop :].astype(np.int64))
            for row, start in zip(kept.tolist(), read.starts, strict=True)
        ]
        return replace(batch, labels=pad_sequence(labels, batch_first=True, padding_value=-1))


@dataclass(frozen=True)
class _Order:
    """What a worker is asked to read; it knows the utterances from here alone."""

    utterances: tuple[Utterance, ...]
    seeds: tuple[int, ...]
    noise: Utterance | None


@dataclass(frozen=True)
class _Read:
    batch: Batch | None
    kept: tuple[int, ...]  # places in the order
    starts: tuple[int, ...]  # first sample of each
    failures: Failures


@dataclass(frozen=True)
class _Orders(Sampler[_Order]):
    """The orders of some batches, made as they are wanted."""

    batches: Batches
    plan: list[np.ndarray]
    numbers: Sequence[int]
    epoch: int

    def __iter__(self) -> Iterator[_Order]:
        data = self.batches.data
        utterances = data.corpus.utterances
        noises = data.noise.utterances if data.noise is not None else ()
        for number in self.numbers:
            rows = self.plan[number].tolist()
            seeds = tuple(_mix(self.batches.seed, self.epoch, number, place) for place in range(len(rows)))
            noise = noises[seeds[0] % len(noises)] if len(noises) else None
            yield _Order(tuple(utterances[row] for row in rows), seeds, noise)

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class _Reader(Dataset[_Read]):
    """Reads what an order says, in whatever process."""

    sample_rate: int
    limit: int  # samples
    hop: int
    normalize: bool
    augment: Drawing | None

    def __getitem__(self, order: _Order) -> _Read:
        waves, kept, starts, sizes = [], [], [], []
        failures: list[tuple[str, str]] = []
        noise = self._noise(order, failures)
        for place, (utterance, seed) in enumerate(zip(order.utterances, order.seeds, strict=True)):
            try:
                wave, start = self._read(utterance, seed)
            except AudioError as error:
                failures.append((utterance.id, error.code))
                continue
            sizes.append(len(wave))
            if self.augment is not None:
                wave = self._changed(wave, self.augment, seed, noise)
            waves.append(torch.from_numpy(wave))
            kept.append(place)
            starts.append(start)
        batch = None
        if waves:
            batch = Batch(
                wav=pad_sequence(waves, batch_first=True),
                lengths=torch.tensor([len(wave) for wave in waves]),
                seeds=torch.tensor([order.seeds[place] for place in kept]),
                ids=tuple(order.utterances[place].id for place in kept),
                noise=None if noise is None else torch.from_numpy(noise),
                source_lengths=None if self.augment is None else torch.tensor(sizes),
            )
        return _Read(batch, tuple(kept), tuple(starts), tuple(failures))

    def _noise(self, order: _Order, failures: list[tuple[str, str]]) -> np.ndarray | None:
        if order.noise is None:
            return None
        try:
            return self._read(order.noise, order.seeds[0])[0]
        except AudioError as error:
            failures.append((order.noise.id, error.code))
            return None

    def _changed(self, wave: np.ndarray, settings: Drawing, seed: int, noise: np.ndarray | None) -> np.ndarray:
        """differs: normalised over the crop, which is all that was changed."""
        random = np.random.default_rng((seed, 12))
        changed = augment(wave, self.sample_rate, settings.draw(random), random, noise)
        return _normalized(changed) if self.normalize else changed

    def _read(self, utterance: Utterance, seed: int) -> tuple[np.ndarray, int]:
        """Samples, cropped at a multiple of the hop so that labels stay in step, and where they start."""
        samples = read_utterance(utterance, sample_rate=self.sample_rate).samples
        if self.normalize and self.augment is None:
            samples = _normalized(samples)
        if len(samples) <= self.limit:
            return samples, 0
        start = int(np.random.default_rng(seed).integers((len(samples) - self.limit) // self.hop + 1)) * self.hop
        return samples[start : start + self.limit], start


def _normalized(samples: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance."""
    wide = samples.astype(np.float64)
    return ((wide - wide.mean()) / np.sqrt(wide.var() + 1e-5)).astype(np.float32) if len(samples) else samples


def _ignore_signals(_: int) -> None:
    """A stop goes to the whole process group; the training that reads decides when its workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _mix(*numbers: int) -> int:
    """A 63-bit seed from numbers; the same everywhere."""
    mixed = 0
    for number in numbers:
        mixed = (mixed ^ (number + 1)) * _SEED & 0xFFFF_FFFF_FFFF_FFFF
        mixed ^= mixed >> 29
    return mixed >> 1
