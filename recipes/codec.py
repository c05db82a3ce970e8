"""Training of a neural codec against discriminators.

    python -m recipes.codec recipes/conf/codec.toml run=exp/codec data.train=data/train data.valid=data/valid
    python -m recipes.codec recipes/conf/tiny_codec.toml run=exp/tiny data.train=data/train data.valid=data/valid
    torchrun --nproc-per-node 8 -m recipes.codec recipes/conf/codec.toml device=cuda data.train=...

Takes TOML files, of which the later win, and key=value overrides. codec.toml has a published size; tiny_codec.toml is
one for two cores. Builds things in order: codec, data, discriminators, trainer. Goes on from the newest checkpoint in
the run's folder where there is one, bit for bit on a CPU. Writes into it: config.toml (everything resolved), log.jsonl
(mel distance and SI-SDR of the validation set before the first update, too), checkpoints/, codec/ (what `speechssl
codec` and `speechssl units --model` read) and result.json. Exit code: 0 trained to the end, 2 stopped early or refused.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch

from recipes.shared import Common, check_crops, count, run_recipe, run_trainer, start_folder
from speechssl.codecs.learning import Learning, Settings
from speechssl.codecs.model import Codec
from speechssl.codecs.model import Config as CodecConfig
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import Batches, Lengths, TrainingSet, open_training_set
from speechssl.errors import ConfigError
from speechssl.training.adversarial import Adversarial
from speechssl.training.adversarial import Config as Losses
from speechssl.training.distributed import Group
from speechssl.units import codec as codec_files
from speechssl.units.card import UnitModelCard


@dataclass(frozen=True)
class Data:
    """What to train on: anything that `speechssl units` takes as its input."""

    train: str
    valid: str | None = None
    lengths: Lengths = "headers"  # "stated": those of utt2dur, segments or a manifest; no header is read beforehand
    batching: Batching = field(default_factory=lambda: Batching(seconds=27.36, crop_s=0.38, min_s=0.38))
    valid_batching: Batching = field(default_factory=lambda: Batching(seconds=40.0, crop_s=5.0, min_s=0.5))

    def __post_init__(self) -> None:
        """Discriminators judge crops of one length."""
        check_crops(self.batching)


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    codec: CodecConfig
    run: str = "exp/codec"  # the run's folder
    learning: Settings = field(default_factory=Settings)
    losses: Losses = field(default_factory=Losses)


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    if run.training.shard:
        raise ConfigError("training.shard is for transformers; a codec and its discriminators fit on each GPU")
    folder = Path(run.run)
    torch.manual_seed(run.seed)
    objective = build(run)  # before the folder: what cannot be built leaves nothing behind
    codec = objective.generator.codec
    log = start_folder(run, folder, group)

    data = open_data(run, run.data.train, codec)
    log.line(f"train: {len(data.corpus)} utterances, {data.hours:.2f} h, {len(data.failures)} cannot be used")
    valid = None if run.data.valid is None else open_data(run, run.data.valid, codec)
    log.line(f"codec: {count(codec.encoder) / 1e6:.2f} M parameters in the encoder, {count(codec.decoder) / 1e6:.2f} M "
             f"in the decoder, {count(objective) / 1e6:.2f} M in training, {codec.bitrate:.0f} bit/s")  # fmt: skip

    batches = Batches(data, run.data.batching, run.seed, codec.hop, group.rank, group.world, run.training.workers,
                      run.training.accumulate)  # fmt: skip
    valid_batches = None
    if valid is not None:
        valid_batches = Batches(valid, run.data.valid_batching, run.seed, codec.hop, group.rank, group.world, 0, 0)
    ended = run_trainer(run, objective, batches, valid_batches, group=group, folder=folder, log=log,
                        failures=data.failures, validate_first=True)  # fmt: skip
    if ended is None:
        return 2
    trainer, result = ended
    if group.first:
        training = {"recipe": "recipes.codec", "updates": trainer.update, "seed": run.seed, "hours": data.hours}
        card = UnitModelCard(name=f"codec, {trainer.update} updates, seed {run.seed}", training=training)
        codec_files.save(folder / "codec", objective.generator.trained(), card)
        result |= {"bitrate": codec.bitrate, "rate_hz": codec.rate_hz}
        (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        log.line(f"codec in {folder / 'codec'}")
    return 0


def build(run: Run) -> Adversarial:
    """The codec, fresh, with its discriminators; weights as torch draws them."""
    codec = Codec(run.codec)
    return Adversarial(Learning(codec, run.learning), run.losses, sample_rate=codec.sample_rate)


def open_data(run: Run, spec: str, codec: Codec) -> TrainingSet:
    """A corpus ready for training this codec."""
    return open_training_set(open_corpus(spec), sample_rate=codec.sample_rate, lengths=run.data.lengths)


if __name__ == "__main__":
    sys.exit(main())
