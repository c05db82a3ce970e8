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

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from recipes import adversarial
from recipes.shared import Common, count, run_recipe, start_folder
from speechssl.codecs.learning import Learning, Settings
from speechssl.codecs.model import Codec
from speechssl.codecs.model import Config as CodecConfig
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import TrainingSet, open_training_set
from speechssl.training.adversarial import Adversarial
from speechssl.training.adversarial import Config as Losses
from speechssl.training.distributed import Group
from speechssl.units import codec as codec_files
from speechssl.units.card import UnitModelCard


@dataclass(frozen=True, kw_only=True)
class Data(adversarial.Data):
    """What to train on."""

    batching: Batching = field(default_factory=lambda: Batching(seconds=27.36, crop_s=0.38, min_s=0.38))
    valid_batching: Batching = field(default_factory=lambda: Batching(seconds=40.0, crop_s=5.0, min_s=0.5))


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
    adversarial.check_whole(run)
    torch.manual_seed(run.seed)
    objective = build(run)  # before the folder: what cannot be built leaves nothing behind
    codec = objective.generator.codec
    log = start_folder(run, Path(run.run), group)
    data = open_data(run, run.data.train, codec)
    valid = None if run.data.valid is None else open_data(run, run.data.valid, codec)

    def keep(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
        card = UnitModelCard(name=f"codec, {facts['updates']} updates, seed {run.seed}", training=facts)
        codec_files.save(folder, objective.generator.trained(), card)
        return {"bitrate": codec.bitrate, "rate_hz": codec.rate_hz}

    told = (f"{count(codec.encoder) / 1e6:.2f} M parameters in the encoder, {count(codec.decoder) / 1e6:.2f} M "
            f"in the decoder, {count(objective) / 1e6:.2f} M in training, {codec.bitrate:.0f} bit/s")  # fmt: skip
    return adversarial.learn(run, objective, data, valid, hop=codec.hop, group=group, log=log, what="codec",
                             told=told, keep=keep)  # fmt: skip


def build(run: Run) -> Adversarial:
    """The codec, fresh, with its discriminators; weights as torch draws them."""
    codec = Codec(run.codec)
    return Adversarial(Learning(codec, run.learning), run.losses, sample_rate=codec.sample_rate)


def open_data(run: Run, spec: str, codec: Codec) -> TrainingSet:
    """A corpus ready for training this codec."""
    return open_training_set(open_corpus(spec), sample_rate=codec.sample_rate, lengths=run.data.lengths)


if __name__ == "__main__":
    sys.exit(main())
