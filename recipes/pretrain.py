"""Self-supervised pre-training with any objective.

    python -m recipes.pretrain recipes/conf/hubert.toml run=exp/hubert data.train=data/train data.labels=exp/units
    python -m recipes.pretrain recipes/conf/hubert.toml recipes/conf/tiny.toml data.train=data/dev data.labels=exp/units
    torchrun --nproc-per-node 8 -m recipes.pretrain recipes/conf/hubert.toml device=cuda data.train=...
    python -m recipes.pretrain recipes/conf/wav2vec2.toml 'encoder={checkpoint="facebook/wav2vec2-base"}' data.train=...

The last goes on from an encoder that somebody trained (a folder, file or name); what the objective adds starts afresh.

Takes TOML files, of which the later win, and key=value overrides. recipes/conf has the papers' settings; tiny.toml
makes any of them small enough for two cores. Builds things in order: data, encoder, objective, trainer. Goes on from
the newest checkpoint in the run's folder where there is one. Writes into it: config.toml (everything resolved),
log.jsonl, checkpoints/, encoder/ (what `speechssl features --encoder` reads) and result.json. `speechssl convert RUN
MODEL --to unit-model` takes the units that it chooses or predicts along. Exit code: 0 trained to the end, 2 stopped
early or refused.
"""

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recipes import shared
from recipes.shared import (
    Common,
    count,
    held_out_batches,
    run_recipe,
    run_trainer,
    speech_batches,
    start_folder,
    write_result,
)
from speechssl import config, encoders, objectives
from speechssl.audio.augment import Drawing
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import Lengths, TrainingSet, open_training_set
from speechssl.encoders import pretrained
from speechssl.encoders.pretrained import EncoderCard, Pretrained
from speechssl.errors import ConfigError
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.training.distributed import Group


@dataclass(frozen=True)
class Data:
    """What to train on: anything that `speechssl units` takes as its input."""

    train: str
    valid: str | None = None
    labels: str | None = None  # units per frame of all utterances: an output of `speechssl units`, or its text file
    valid_labels: str | None = None
    group_by: str | None = None  # "speaker", or an extra value such as "utt2lang"; see batching.balance
    lengths: Lengths = "headers"  # "stated": those of utt2dur, segments or a manifest; no header is read beforehand
    noise: str | None = None  # recordings that an objective may mix with speech (wavlm), or augment does
    augment: Drawing | None = None  # train on changed recordings; labels and their time stay those of the clean ones
    batching: Batching = field(default_factory=Batching)


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    objective: str  # a module in speechssl.objectives
    data: Data
    encoder: dict[str, Any]  # family, preset and values of its Config; or checkpoint = anything load_encoder reads
    run: str = "exp/pretrain"  # the run's folder
    settings: dict[str, Any] = field(default_factory=dict)  # the objective's Config
    normalize: bool = False  # waveforms to zero mean and unit variance
    dropout: Dropout = field(default_factory=Dropout)


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    folder = Path(run.run)
    log = start_folder(run, folder, group)

    encoder, card = make_encoder(run)
    data = open_data(run, run.data.train, run.data.labels, encoder)
    log.line(f"train: {len(data.corpus)} utterances, {data.hours:.2f} h, {len(data.failures)} cannot be used")
    valid = None
    if run.data.valid is not None:
        valid = open_data(run, run.data.valid, run.data.valid_labels or run.data.labels, encoder)

    num_labels = None if data.labels is None else data.labels.size
    torch.manual_seed(run.seed)  # for what the objective itself adds
    objective = objectives.build(run.objective, encoder, run.settings, num_labels=num_labels)
    check_in_step(run, objective)
    set_dropout(encoder, run.dropout)
    log.line(f"{run.objective}: {count(encoder) / 1e6:.2f} M parameters in the encoder, {count(objective) / 1e6:.2f} M "
             f"in training, layers of {encoder.dim} channels")  # fmt: skip

    batches = speech_batches(run, data, encoder.conv.hop, group)
    valid_batches = held_out_batches(run, valid, encoder.conv.hop, group)
    ended = run_trainer(run, objective, batches, valid_batches, group=group, folder=folder, log=log,
                        failures=data.failures)  # fmt: skip
    if ended is None:
        return 2
    trainer, result = ended
    state = trainer.whole_state(objective.encoder)
    if group.first:
        card = dataclasses.replace(card, normalize=run.normalize)
        trained = encoders.build(card.family, config.to_dict(objective.encoder.config))
        trained.load_state_dict(state)
        pretrained.save(folder / "encoder", Pretrained(trained.eval(), card))
        write_result(folder, result, log, f"encoder in {folder / 'encoder'}")
    return 0


def make_encoder(run: Run) -> tuple[nn.Module, EncoderCard]:
    """A fresh encoder of a family, or one to go on training."""
    return shared.make_encoder(run.encoder, normalize=run.normalize, seed=run.seed,
                               purpose=f"{run.objective} pre-training")  # fmt: skip


def open_data(run: Run, spec: str, labels: str | None, encoder: nn.Module) -> TrainingSet:
    """A corpus ready for training this encoder."""
    return open_training_set(
        open_corpus(spec), sample_rate=encoder.sample_rate, normalize=run.normalize,
        labels=None if labels is None else Path(labels), rate_hz=encoder.sample_rate / encoder.conv.hop,
        group_by=run.data.group_by, lengths=run.data.lengths,
        noise=None if run.data.noise is None else open_corpus(run.data.noise), augment=run.data.augment,
    )  # fmt: skip


def check_in_step(run: Run, objective: nn.Module) -> None:
    """Refuse labels per frame of speech that is stretched."""
    augment = run.data.augment
    stretched = augment is not None and augment.share > 0 and augment.stretch != (1.0, 1.0)
    if run.data.labels is not None and stretched and getattr(objective, "in_step", True):
        raise ConfigError(f"{run.objective} needs labels in step with frames: data.augment.stretch must be [1, 1]")


if __name__ == "__main__":
    sys.exit(main())
