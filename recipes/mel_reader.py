"""Training of a mel reader: a small network that hears F0 in mels, and units if it is told them.

    speechssl pitch data/train -o exp/pitch
    python -m recipes.mel_reader recipes/conf/mel_reader.toml run=exp/reader data.train=data/train data.pitch=exp/pitch
    python -m recipes.mel_reader recipes/conf/mel_reader.toml run=exp/reader data.train=data/train \\
        data.pitch=exp/pitch data.labels=exp/units          # with units, for losses.speech of recipes.stargan_vc

Takes TOML files, of which the later win, and key=value overrides. It is what recipes.stargan_vc judges and tells pitch
by. data.labels: an output of `speechssl units` at the pitch's rate. Minutes of one core. Goes on from the newest
checkpoint in the run's folder where there is one. Writes into it: config.toml, log.jsonl, checkpoints/, mel_reader/ and
result.json. Exit code: 0 trained to the end, 2 stopped early or refused.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from recipes.shared import (
    Common,
    count,
    held_out_batches,
    measure_mels,
    run_recipe,
    run_trainer,
    speech_batches,
    start_folder,
    write_result,
)
from speechssl.data import pitch_files
from speechssl.data.batch import Batch
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import Batches, Lengths, TrainingSet, open_training_set
from speechssl.errors import ConfigError
from speechssl.training.distributed import Group
from speechssl.training.mel_reading import Reading
from speechssl.units import mel_converter as folders
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.mel_reader import MIDDLE_HZ, MelReader
from speechssl.vocoders.mel_reader import Config as ReaderConfig


@dataclass(frozen=True)
class Data:
    """What to train on."""

    train: str
    pitch: str  # an output of `speechssl pitch`
    labels: str | None = None  # an output of `speechssl units` (text, not merged); None: it hears no units
    valid: str | None = None
    valid_pitch: str | None = None  # None: it is in `pitch`
    valid_labels: str | None = None  # None: they are among `labels`
    lengths: Lengths = "headers"
    batching: Batching = field(default_factory=lambda: Batching(seconds=32.0, crop_s=2.0, min_s=0.5))


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    reader: ReaderConfig = field(default_factory=ReaderConfig)  # but num_units, which follows from the labels
    run: str = "exp/mel_reader"  # the run's folder


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    folder = Path(run.run)
    if run.reader.num_units:
        raise ConfigError("reader.num_units follows from data.labels: leave it out")
    units = None if run.data.labels is None else SpokenUnits.of_folder(run.data.labels)
    rate_hz = pitch_files.read(run.data.pitch).card.settings.rate_hz
    if units is not None and units.rate_hz != rate_hz:
        raise ConfigError(f"{run.data.labels} has {units.rate_hz:g} units a second, {run.data.pitch} {rate_hz:g} frames"
                          f": give speechssl pitch --rate {units.rate_hz:g}")  # fmt: skip
    torch.manual_seed(run.seed)
    own = replace(run.reader, num_units=0 if units is None else units.num_units)
    objective = Reading(own, rate_hz=rate_hz)
    data = open_data(run, run.data.train, run.data.pitch, run.data.labels, rate_hz)
    log = start_folder(run, folder, group)
    log.line(f"train: {len(data.corpus)} utterances, {data.hours:.2f} h, {len(data.failures)} cannot be used")
    hop = round(own.sample_rate / rate_hz)
    batches = speech_batches(run, data, hop, group)
    valid = None
    if run.data.valid is not None:
        labels = run.data.valid_labels or run.data.labels
        found = open_data(run, run.data.valid, run.data.valid_pitch or run.data.pitch, labels, rate_hz)
        valid = held_out_batches(run, found, hop, group)
    if not (folder / "checkpoints").is_dir():
        measure(objective.reader, batches)
    log.line(f"mel reader: {count(objective) / 1e6:.2f} M parameters, F0 and {own.num_units} units")
    ended = run_trainer(run, objective, batches, valid, group=group, folder=folder, log=log, failures=data.failures)
    if ended is None:
        return 2
    trainer, result = ended
    if group.first:
        facts = {"recipe": "recipes.mel_reader", "updates": trainer.update, "seed": run.seed, "hours": data.hours}
        card = folders.save_reader(folder / "mel_reader", objective.reader.cpu(), training=facts,
                                   unit_model="" if units is None else units.sha256)  # fmt: skip
        write_result(folder, result | {"sha256": card.sha256}, log, f"mel reader in {folder / 'mel_reader'}")
    return 0


def measure(reader: MelReader, batches: Batches) -> None:
    """Mean and scale of each mel bin over the first batches."""

    def mels(batch: Batch) -> tuple[Tensor, Tensor]:
        frames = batch.lengths // reader.config.hop
        return reader.mels(batch.wav, batch.lengths, int(frames.max())), frames

    measure_mels(reader, batches, mels)


def open_data(run: Run, spec: str, pitch: str, labels: str | None, rate_hz: float) -> TrainingSet:
    """A corpus with its F0, in log Hz above the reader's middle, and its units."""
    return open_training_set(open_corpus(spec), sample_rate=run.reader.sample_rate, lengths=run.data.lengths,
                             labels=None if labels is None else Path(labels), rate_hz=rate_hz, pitch=Path(pitch),
                             pitch_above_hz=MIDDLE_HZ)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
