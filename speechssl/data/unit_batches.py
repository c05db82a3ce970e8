"""Batches of discrete units, without audio: what a recogniser of units, a unit-BART and their like are trained on.

Several streams (codebooks, or unit models of one rate) are stacked. Lengths count in units: a batch's `wav` is empty
but for its shape, at a "sample rate" of as many samples a second as there are units, so that plans, logs and figures
work as they do with audio.

B utterances, T units, G streams.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from speechssl.data.batch import Batch
from speechssl.data.batch_plan import Batching, plan_batches
from speechssl.data.context import Context, Sessions, sessions_of, units_around
from speechssl.data.corpus import Corpus
from speechssl.data.sequences import UnitTargets, read_units
from speechssl.data.targets import Encode, Targets, make_targets
from speechssl.data.training_set import Loaded, Place
from speechssl.errors import DataError

Failures = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class UnitSet:
    """Utterances with units, and texts where there are some."""

    corpus: Corpus
    units: tuple[np.ndarray, ...]  # of each utterance: [T, G] int32
    sizes: tuple[int, ...]  # V of each stream
    targets: Targets | None
    seconds: np.ndarray  # [N] float64; 0 where an utterance cannot be used
    failures: Failures
    rate_hz: int  # units a second
    models: tuple[str | None, ...]  # sha256 of the unit model of each stream
    around: tuple[tuple[np.ndarray, np.ndarray], ...] | None = None  # units before and after each: see data.context
    groups: np.ndarray | None = None  # [N] int64: the language
    speakers: np.ndarray | None = None  # [N] int64: numbers of who speaks
    labels: None = None

    @property
    def sample_rate(self) -> int:
        """A unit is a sample."""
        return self.rate_hz

    @property
    def beside_s(self) -> np.ndarray | None:
        """Seconds of units before and after each, [N]."""
        if self.around is None:
            return None
        return np.array([len(before) + len(after) for before, after in self.around]) / self.rate_hz

    @property
    def hours(self) -> float:
        """Of what can be used."""
        return float(self.seconds.sum()) / 3600


def open_units(
    corpus: Corpus, streams: Sequence[Path], encode: Encode, *, longest_s: float, factor: int = 1, rate_hz: int = 50,
    sizes: Sequence[int] | None = None, context: Context | None = None, sessions: Sessions | None = None,
) -> UnitSet:  # fmt: skip
    """Units per frame of a corpus' utterances, from output folders or text files, with the texts of the corpus.

    factor: units that become one frame of the recogniser, of which CTC needs one for each symbol. rate_hz: for files
    that do not say it. sizes: V of each stream, where a model is there already. context: what else is seen, of all
    that have units, in the order of `sessions` (None: those of the corpus). Utterances that cannot be used become
    failures. Raises DataError for streams of different rates, and where nothing can be used.
    """
    found = [read_units(path, reduced=False, size=None if sizes is None else sizes[g])
             for g, path in enumerate(streams)]  # fmt: skip
    rates = {rate for rate in (stream.rate_hz for stream in found) if rate is not None} or {float(rate_hz)}
    if len(rates) > 1 or any(rate != int(rate) for rate in rates):
        raise DataError(f"streams need one whole number of units a second, got {sorted(rates)}")
    rate = int(next(iter(rates)))
    units, seconds, failures = [], np.zeros(len(corpus)), []
    for row, utterance in enumerate(corpus.utterances):
        parts = [stream.of.get(utterance.id) for stream in found]
        present = [part for part in parts if part is not None and len(part)]
        reason = ""
        if len(present) < len(parts):
            reason = "no units"
        elif len({len(part) for part in present}) > 1:
            reason = f"streams of {[len(part) for part in present]} units"
        if reason:
            failures.append((utterance.id, reason))
            units.append(np.zeros((0, len(found)), np.int32))
            continue
        units.append(np.stack(present, 1))
        seconds[row] = len(present[0]) / rate
    targets, without = make_targets(corpus.utterances, seconds, encode, rate_hz=rate / factor, longest_s=longest_s)
    failures += [(corpus.utterances[row].id, reason) for row, reason in without]
    seconds[[row for row, _ in without]] = 0
    if not seconds.any():
        reasons = ", ".join(sorted({reason for _, reason in failures})[:3])
        raise DataError(f"{corpus.source}: none of {len(corpus)} utterances can be used ({reasons})")
    kinds, models = tuple(stream.size for stream in found), tuple(stream.model_sha256 for stream in found)
    around = None
    if context is not None:
        order, known = sessions or sessions_of(corpus), stacked(found)
        around = tuple(units_around(u.id, known, order, context, factor=factor) for u in corpus.utterances)
    return UnitSet(corpus, tuple(units), kinds, targets, seconds, tuple(failures), rate, models, around)


def stacked(streams: Sequence[UnitTargets]) -> dict[str, np.ndarray]:
    """Units [T, G] of the utterances that are, with as many units, in all streams; in the order of the first."""
    found = {}
    for name in streams[0].of:
        parts = [stream.of[name] for stream in streams if name in stream.of]
        if len(parts) == len(streams) and len({len(part) for part in parts}) == 1 and len(parts[0]):
            found[name] = np.stack(parts, 1)
    return found


def padded(
    units: Sequence[np.ndarray], around: Sequence[tuple[np.ndarray, np.ndarray]] | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Units [B, T, G], -1 behind their ends, lengths [B], and with neighbours where each itself lies, [B, 2]."""
    own = None
    if around is not None:
        own = torch.tensor([[len(before), len(part)] for part, (before, _) in zip(units, around, strict=True)])
        units = [np.concatenate([before, part, after]) for part, (before, after) in zip(units, around, strict=True)]
    rows = [torch.from_numpy(part.astype(np.int64)) for part in units]
    return pad_sequence(rows, batch_first=True, padding_value=-1), torch.tensor([len(row) for row in rows]), own


@dataclass
class UnitBatches:
    """Offers what `training_set.Batches` does."""

    data: UnitSet
    batching: Batching
    seed: int
    rank: int = 0
    world: int = 1
    together: int = 1
    _plans: dict[int, list[np.ndarray]] = field(default_factory=dict, repr=False)
    _sizes: dict[int, int] = field(default_factory=dict, repr=False)

    def updates_per_epoch(self, epoch: int = 0) -> int:
        """How many updates an epoch has."""
        return len(self._plan(epoch)) // (self.together * self.world)

    def start(self, place: Place) -> Iterator[Loaded]:
        """Batches from `place` on, without end. Raises DataError where an epoch has not enough for one update."""
        epoch, first = place.epoch, place.batch
        while True:
            batches, step = self._plan(epoch), self.together * self.world
            usable = len(batches) // step * step
            if not usable:
                raise DataError(f"an epoch has {len(batches)} batches and an update takes {step}: make batches shorter "
                                "(data.batching.seconds), or give more units")  # fmt: skip
            for number in range(first + self.rank, usable, self.world):
                after = number - self.rank + self.world
                place = Place(epoch, after) if after < usable else Place(epoch + 1, 0)
                yield Loaded(self._batch(batches[number], epoch), (), place)
            epoch, first = epoch + 1, 0

    def once(self) -> Iterator[Loaded]:
        """This process's batches of one epoch, none left out, the same ones every time: for validation."""
        batches = self._plan(0)
        for number in range(self.rank, len(batches), self.world):
            yield Loaded(self._batch(batches[number], 0), (), Place(0, number))

    def at(self, number: int) -> Batch:
        """The batch of that number, from 0, of all epochs one after another, whoever's it is."""
        epoch = 0
        while number >= self._size(epoch):
            number, epoch = number - self._size(epoch), epoch + 1
        return self._batch(self._plan(epoch)[number], epoch)

    def _size(self, epoch: int) -> int:
        if epoch not in self._sizes:
            self._sizes[epoch] = len(self._plan(epoch))
        return self._sizes[epoch]

    def _plan(self, epoch: int) -> list[np.ndarray]:
        if epoch not in self._plans:
            plan = plan_batches(self.data.seconds, self.batching, seed=self.seed, epoch=epoch,
                                groups=self.data.groups, beside=self.data.beside_s)  # fmt: skip
            self._plans = {epoch: plan, 0: self._plans.get(0, plan)}
        return self._plans[epoch]

    def _batch(self, rows: np.ndarray, epoch: int) -> Batch:
        data = self.data
        chosen = rows.tolist()
        around = None if data.around is None else [data.around[row] for row in chosen]
        labels, lengths, own = padded([data.units[row] for row in chosen], around)
        ids = tuple(data.corpus.utterances[int(row)].id for row in rows)
        seeds = [zlib.crc32(f"{self.seed} {epoch} {name}".encode()) for name in ids]
        return Batch(wav=torch.zeros(labels.shape[:2]), lengths=lengths, seeds=torch.tensor(seeds), ids=ids,
                     labels=labels, targets=None if data.targets is None else data.targets.padded(rows), own=own,
                     groups=None if data.groups is None else torch.from_numpy(data.groups[rows]),
                     speakers=None if data.speakers is None else torch.from_numpy(data.speakers[rows]))  # fmt: skip
