"""Training of a mel converter: speech in another speaker's voice without units, texts or pairs (StarGANv2-VC).

    python -m recipes.mel_reader recipes/conf/mel_reader.toml run=exp/reader data.train=data/train data.pitch=exp/pitch
    python -m recipes.stargan_vc recipes/conf/tiny_stargan_vc.toml run=exp/stargan data.train=data/train \\
        reader=exp/reader/mel_reader data.valid=data/valid
    speechssl convert-voice recordings/ --to anna --mel-converter exp/stargan/mel_converter -o as_anna

Takes TOML files, of which the later win, and key=value overrides. stargan_vc.toml has the published settings (weeks of
a CPU), tiny_stargan_vc.toml a small network. data.train: a Kaldi data dir with utt2spk of two speakers at least, of
crops of one length, or as long as the shortest of a batch. reader: a folder of recipes.mel_reader; one that hears units
may hold on to what is said, too (losses.speech, 0 by default). Goes on from the newest checkpoint in the run's folder
where there is one. Writes into it: config.toml, log.jsonl, checkpoints/, mel_converter/ (the average of weights, with
the styles of all speakers) and result.json. Exit code: 0 trained to the end, 2 stopped early or refused.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from recipes.shared import (
    Common,
    count,
    first_batches,
    held_out_batches,
    run_recipe,
    run_trainer,
    speech_batches,
    start_folder,
    write_result,
)
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import Batches, Lengths, TrainingSet, open_training_set
from speechssl.errors import ConfigError
from speechssl.training.distributed import Group
from speechssl.training.mel_conversion import Conversion, Losses, find_voices
from speechssl.units import mel_converter as folders
from speechssl.vocoders.mel_converter import Config as ConverterConfig
from speechssl.vocoders.mel_reader import MelReader


@dataclass(frozen=True)
class Data:
    """What to train on: recordings with speakers."""

    train: str
    valid: str | None = None
    lengths: Lengths = "headers"
    batching: Batching = field(default_factory=lambda: Batching(seconds=10.0, crop_s=2.0, min_s=1.0, bucket_noise=1.0))
    valid_batching: Batching = field(default_factory=lambda: Batching(seconds=40.0, crop_s=10.0, min_s=0.5))


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    reader: str  # folder of recipes.mel_reader's mel_reader
    converter: ConverterConfig = field(default_factory=ConverterConfig)  # but speakers and reader
    critic_channels: int = 64  # of discriminator and source classifier
    losses: Losses = field(default_factory=Losses)
    run: str = "exp/stargan_vc"  # the run's folder
    name: str = ""  # of the mel converter
    licence: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    folder = Path(run.run)
    if run.training.shard:
        raise ConfigError("training.shard is for transformers; a mel converter and its critics fit on each GPU")
    reader = folders.load_reader(run.reader)
    data = open_data(run, run.data.train, reader)
    objective = build(run, reader, data.group_names)  # before the folder: what cannot be built leaves nothing behind
    valid = None
    hop = reader.config.hop
    if run.data.valid is not None:
        found = open_data(run, run.data.valid, reader)
        if found.group_names != data.group_names:
            raise ConfigError(f"{run.data.valid} has other speakers than {run.data.train}")
        valid = held_out_batches(run, found, hop, group)
    log = start_folder(run, folder, group)
    log.line(f"train: {len(data.corpus)} utterances, {data.hours:.2f} h, {len(data.failures)} cannot be used")
    batches = speech_batches(run, data, hop, group)
    log.line(f"stargan_vc: {count(objective.converter) / 1e6:.2f} M parameters, {count(objective) / 1e6:.2f} M in "
             f"training, speakers {', '.join(data.group_names[:20])}")  # fmt: skip
    ended = run_trainer(run, objective, batches, valid, group=group, folder=folder, log=log, failures=data.failures)
    if ended is None:
        return 2
    trainer, result = ended
    if group.first:
        made = objective.average.cpu().eval()
        whole = Batches(data, run.data.valid_batching, run.seed, hop)
        find_voices(made, first_batches(whole, None))
        facts = {"recipe": "recipes.stargan_vc", "updates": trainer.update, "seed": run.seed, "hours": data.hours}
        name = run.name or f"stargan_vc, {trainer.update} updates, seed {run.seed}"
        card = folders.save(folder / "mel_converter", made, name=name, licence=run.licence, training=facts)
        write_result(folder, result | {"sha256": card.sha256}, log, f"mel converter in {folder / 'mel_converter'}")
    return 0


def build(run: Run, reader: MelReader, speakers: tuple[str, ...]) -> Conversion:
    """Converter and critics, drawn from the run's seed. ConfigError for what follows from elsewhere."""
    if run.converter.speakers or run.converter.reader != ConverterConfig().reader:
        raise ConfigError("converter.speakers follow from data.train, converter.reader from reader: leave them out")
    torch.manual_seed(run.seed)
    own = replace(run.converter, speakers=speakers)
    return Conversion(own, reader, run.losses, critic_channels=run.critic_channels)


def open_data(run: Run, spec: str, reader: MelReader) -> TrainingSet:
    """A corpus with its speakers."""
    return open_training_set(open_corpus(spec), sample_rate=reader.config.sample_rate, lengths=run.data.lengths,
                             group_by="speaker")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
