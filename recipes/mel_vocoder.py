"""Training of a vocoder of log mels against discriminators: what stands behind mel decoders in place of Griffin-Lim.

    python -m recipes.mel_vocoder recipes/conf/tiny_mel_vocoder.toml run=exp/mel_vocoder data.train=data/train \\
        data.valid=data/valid
    python -m recipes.mel_vocoder recipes/conf/mel_hifigan.toml device=cuda training.precision=bf16 data.train=...
    torchrun --nproc-per-node 8 -m recipes.mel_vocoder recipes/conf/mel_hifigan.toml device=cuda data.train=...

Takes TOML files, of which the later win, and key=value overrides. Learns from recordings alone, of any number of
speakers. mel_hifigan.toml has HiFi-GAN V1's published size; tiny_mel_vocoder.toml is one for minutes of two cores. The
mels (vocoder.mels) are those of mel decoders unless they are set. start=FOLDER begins with the weights of a mel vocoder
of the same shape; or of a unit vocoder ("default": the built-in one) with the same generator, of which everything but
the input layer is taken. First by losses.adversarial=0 losses.feature_matching=0, many times faster, and then against
discriminators. Goes on from the newest checkpoint in the run's folder where there is one, bit for bit on a CPU. Writes
into it: config.toml (everything resolved), log.jsonl (mel distance of the validation set before the first update, too),
checkpoints/, mel_vocoder/ (what `speechssl resynth --mel-vocoder` reads) and result.json. Exit code: 0 trained to the
end, 2 stopped early or refused.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recipes import adversarial
from recipes.shared import Common, count, measure_mels, run_recipe, start_folder
from speechssl import files
from speechssl.data.batch import Batch
from speechssl.data.corpus import open_corpus
from speechssl.data.training_set import Batches, TrainingSet, open_training_set
from speechssl.errors import ConfigError
from speechssl.training.adversarial import Adversarial
from speechssl.training.adversarial import Config as Losses
from speechssl.training.distributed import Group
from speechssl.units import mel_vocoder as vocoder_files
from speechssl.units import vocoder as unit_vocoder_files
from speechssl.vocoders.learning import Learning
from speechssl.vocoders.mel_vocoder import Config as VocoderConfig
from speechssl.vocoders.mel_vocoder import MelVocoder

_INPUT = "first."  # the generator's layer that frames go through


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: adversarial.Data
    vocoder: VocoderConfig
    run: str = "exp/mel_vocoder"  # the run's folder
    name: str = ""  # of the vocoder
    licence: str = ""  # of the vocoder
    start: str | None = None  # folder of a vocoder whose weights are the first ones; discriminators are fresh
    losses: Losses = field(default_factory=Losses)


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    adversarial.check_whole(run)
    torch.manual_seed(run.seed)
    objective = build(run)  # before the folder: what cannot be built leaves nothing behind
    vocoder = objective.generator.vocoder
    log = start_folder(run, Path(run.run), group)
    data = open_data(run, run.data.train, vocoder)
    valid = None if run.data.valid is None else open_data(run, run.data.valid, vocoder)

    def first(batches: Batches) -> None:
        if bool((vocoder.scale == 1).all()):  # nobody has measured yet
            measure(vocoder, batches)

    def keep(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
        name = run.name or f"mel vocoder, {facts['updates']} updates, seed {run.seed}"
        card = vocoder_files.save(folder, objective.generator.trained(), name=name, licence=run.licence, training=facts)
        return {"sha256": card.sha256}

    told = (f"{count(vocoder) / 1e6:.2f} M parameters, {count(objective) / 1e6:.2f} M in training, "
            f"{vocoder.config.mels.num_mels} bands at {vocoder.config.mels.rate_hz:g} Hz")  # fmt: skip
    return adversarial.learn(run, objective, data, valid, hop=vocoder.hop, group=group, log=log, what="mel vocoder",
                             told=told, keep=keep, first=first)  # fmt: skip


def build(run: Run) -> Adversarial:
    """The vocoder with its discriminators; weights as torch draws them, or those of run.start."""
    vocoder = MelVocoder(run.vocoder)
    if run.start is not None:
        begin(vocoder, run.start)
    return Adversarial(Learning(vocoder), run.losses, sample_rate=vocoder.sample_rate)


def begin(vocoder: MelVocoder, start: str) -> None:
    """Give a vocoder the weights of another, of mels or of units. ConfigError for another shape."""
    folder = unit_vocoder_files.find(start)
    if not files.has_format(folder / "card.json", unit_vocoder_files.FORMAT, most=1 << 24):
        before = vocoder_files.load(folder).module
        if before.config != vocoder.config:
            raise ConfigError(f"{start} has another shape than vocoder: give the settings of its card.json")
        vocoder.load_state_dict(before.state_dict())
        return
    units = unit_vocoder_files.load(folder).module
    own = (vocoder.sample_rate, vocoder.config.generator, vocoder.config.last_slope)
    if own != (units.sample_rate, units.config.generator, units.config.last_slope):
        raise ConfigError(f"{start} is a unit vocoder of {units.sample_rate} Hz with the generator "
                          f"{units.config.generator}: give vocoder the same, and last_slope")  # fmt: skip
    taken = {name: value for name, value in units.generator.state_dict().items() if not name.startswith(_INPUT)}
    vocoder.generator.load_state_dict(vocoder.generator.state_dict() | taken)


def measure(vocoder: MelVocoder, batches: Batches) -> None:
    """Mean and scale of each mel bin over the first batches."""

    def mels(batch: Batch) -> tuple[Tensor, Tensor]:
        frames = batch.lengths // vocoder.config.mels.hop
        return vocoder.mels_of(batch.wav, batch.lengths, int(frames.max())), frames

    measure_mels(vocoder, batches, mels)


def open_data(run: Run, spec: str, vocoder: MelVocoder) -> TrainingSet:
    """A corpus ready for training this vocoder."""
    return open_training_set(open_corpus(spec), sample_rate=vocoder.sample_rate, lengths=run.data.lengths)


if __name__ == "__main__":
    sys.exit(main())
