"""Training of a mel decoder on units, or on features of a unit model's encoder: by regression, flow or diffusion.

    speechssl units data/train --model default -o exp/units
    python -m recipes.mel recipes/conf/mel_regression.toml run=exp/mel data.train=data/train data.labels=exp/units
    python -m recipes.mel recipes/conf/mel_flow.toml run=exp/flow data.train=data/train data.labels=exp/units \\
        data.valid=data/valid data.valid_labels=exp/units_valid
    speechssl pitch data/train -o exp/pitch
    python -m recipes.mel recipes/conf/tiny_prosody.toml data.labels=exp/units data.pitch=exp/pitch data.train=...
    python -m recipes.mel recipes/conf/mel_diffusion.toml run=exp/diffusion data.train=data/train   # without labels:
                                                     # features of the unit model's layer, made on the way
    python -m recipes.mel recipes/conf/mel_regression.toml run=exp/soft data.train=data/train data.soft=true \\
        unit_model=exp/soft_units                   # a model with soft units (recipes/conf/soft_units.toml)

Takes TOML files, of which the later win, and key=value overrides. unit_model: whose units they are, and whose encoder
gives features. data.speakers=true gives every speaker of the data an embedding; data.embeddings=resemblyzer takes that
package's (the mean over recordings), or a folder's NAME.npy, so that others may speak, too. settings.decoder.prosody
with data.pitch: pitch, energy and durations of units are given to the decoder, heard in references and predicted, for
`speechssl convert-voice --convert rhythm pitch speaker` (see `speechssl.vocoders.prosody`). Goes on from the newest
checkpoint in the run's folder where there is one. Writes into it: config.toml, log.jsonl, checkpoints/, mel_decoder/
(what `speechssl resynth --mel-decoder` reads) and result.json. Exit code: 0 trained to the end, 2 stopped early or
refused.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipes.shared import (
    Common,
    count,
    first_batches,
    held_out_batches,
    measure_mels,
    run_recipe,
    run_trainer,
    speaker_embeddings,
    speech_batches,
    start_folder,
    write_result,
)
from speechssl import config
from speechssl.data.batch import Batch
from speechssl.data.batch_plan import Batching
from speechssl.data.corpus import open_corpus
from speechssl.data.speaker_embedding import NAME
from speechssl.data.training_set import Batches, Lengths, TrainingSet, open_training_set
from speechssl.data.utterance import Utterance
from speechssl.errors import ConfigError
from speechssl.objectives import mel_diffusion, mel_flow, mel_regression
from speechssl.training.distributed import Group
from speechssl.units import mel_decoder as files
from speechssl.units.model import UnitModel
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.calibration import calibrate
from speechssl.vocoders.mel_decoder import Kind, MelDecoder

_OBJECTIVES: dict[Kind, Any] = {"regression": mel_regression, "flow": mel_flow, "diffusion": mel_diffusion}


@dataclass(frozen=True)
class Data:
    """What to train on."""

    train: str
    labels: str | None = None  # an output of `speechssl units` (text, not merged); None: the encoder's features
    soft: bool = False  # without labels: the unit model's soft units, in place of its layer's features
    valid: str | None = None
    valid_labels: str | None = None  # None: they are among `labels`
    speakers: bool = False  # every speaker has an embedding
    pitch: str | None = None  # an output of `speechssl pitch`, for settings.decoder.prosody
    valid_pitch: str | None = None  # None: it is in `pitch`
    embeddings: str | None = None  # which is not learned: "resemblyzer", or a folder with NAME.npy of every speaker
    lengths: Lengths = "headers"
    batching: Batching = field(default_factory=lambda: Batching(seconds=64.0, crop_s=4.0, min_s=0.5))


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    kind: Kind = "regression"  # its objective is mel_KIND
    unit_model: str = "default"  # a folder, or a built-in one
    run: str = "exp/mel"  # the run's folder
    settings: dict[str, Any] = field(default_factory=dict)  # the objective's Config, but what follows from the data
    name: str = ""  # of the mel decoder
    licence: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    folder, model = Path(run.run), UnitModel.load(run.unit_model)
    units = SpokenUnits(model.size, model.rate_hz, model.hash, model.card.name)
    for labels in (run.data.labels, run.data.valid_labels):
        if labels is not None and Path(labels).is_dir():
            units.check(SpokenUnits.of_folder(labels).sha256, "training")
    if model.pretrained.card.normalize and run.data.labels is None:
        raise ConfigError(f"{run.unit_model}: its encoder wants normalised waveforms, whose mels have lost their level:"
                          " give data.labels")  # fmt: skip
    data = open_data(run, run.data.train, run.data.labels, model, run.data.pitch)
    voices = embeddings(run, data)
    objective = build(run, model, data.group_names, voices)  # before the folder: what cannot be built leaves nothing
    log = start_folder(run, folder, group)
    log.line(f"train: {len(data.corpus)} utterances, {data.hours:.2f} h, {len(data.failures)} cannot be used")
    hop = int(model.pretrained.encoder.hop)
    batches = speech_batches(run, data, hop, group)
    valid = None
    if run.data.valid is not None:
        found = open_data(run, run.data.valid, run.data.valid_labels or run.data.labels, model,
                          run.data.valid_pitch or run.data.pitch)  # fmt: skip
        if found.group_names != data.group_names:
            raise ConfigError(f"{run.data.valid} has other speakers than {run.data.train}")
        valid = held_out_batches(run, found, hop, group)
    if not (folder / "checkpoints").is_dir():
        measure(objective.decoder, batches)
    told = "units" if objective.decoder.config.num_units else "soft units" if run.data.soft else "features"
    log.line(f"mel_{run.kind}: {count(objective) / 1e6:.2f} M parameters in training, of {told}")
    ended = run_trainer(run, objective, batches, valid, group=group, folder=folder, log=log, failures=data.failures)
    if ended is None:
        return 2
    trainer, result = ended
    if group.first:
        if (found := calibrate(objective.cpu(), first_batches(batches))) is not None:
            log.line(f"prosody: {found}")
        facts = {"recipe": "recipes.mel", "updates": trainer.update, "seed": run.seed, "hours": data.hours}
        name = run.name or f"mel_{run.kind}, {trainer.update} updates, seed {run.seed}"
        card = files.save(folder / "mel_decoder", objective.decoder.cpu(), units, layer=model.layer, name=name,
                          licence=run.licence, training=facts, soft=run.data.soft,
                          embedder=NAME if run.data.embeddings == NAME else "")  # fmt: skip
        write_result(folder, result | {"sha256": card.sha256}, log, f"mel decoder in {folder / 'mel_decoder'}")
    return 0


def embeddings(run: Run, data: TrainingSet) -> Tensor | None:
    """Speaker embeddings [N, E] from outside, one for every name; None where they are learned.

    ConfigError without speakers or the package; DataError for files that are missing, no numbers, or of several sizes.
    """
    if run.data.embeddings is None:
        return None
    if not run.data.speakers:
        raise ConfigError("data.embeddings has no effect without data.speakers=true")
    spoken: dict[str, list[Utterance]] = {name: [] for name in data.group_names}
    for utterance in data.corpus.utterances:
        if utterance.speaker is not None:
            spoken[utterance.speaker].append(utterance)
    return speaker_embeddings(run.data.embeddings, spoken)


def build(run: Run, model: UnitModel, speakers: tuple[str, ...], voices: Tensor | None = None) -> nn.Module:
    """The objective with a fresh decoder, drawn from the run's seed; voices [N, E] are of the speakers."""
    if fixed := sorted({"num_labels", "layer", "soft_dim"} & set(run.settings)):
        raise ConfigError(f"settings.{fixed[0]} follows from the units: leave it out")
    decoder = {"num_units": 1, "speakers": list(speakers), **run.settings.get("decoder", {}),
               "speaker_inputs": 0 if voices is None else voices.shape[1]}  # fmt: skip
    soft = model.soft if run.data.soft else None
    if soft is not None and run.data.labels is not None:
        raise ConfigError("data.labels are units and data.soft=true soft ones: give one of them")
    values = {**run.settings, "decoder": decoder, "layer": model.layer,
              "num_labels": 0 if run.data.labels is None else model.size,
              "soft_dim": 0 if soft is None else model.soft_dim}  # fmt: skip
    if ("prosody" in decoder) != (run.data.pitch is not None):
        raise ConfigError("data.pitch and settings.decoder.prosody go together: one of them is missing")
    torch.manual_seed(run.seed)
    made = config.build(_OBJECTIVES[run.kind].Config, values)
    objective = _OBJECTIVES[run.kind].Objective(model.pretrained.encoder, made, soft)
    if voices is not None:
        objective.decoder.voices.copy_(voices)
    return objective


def open_data(run: Run, spec: str, labels: str | None, model: UnitModel, pitch: str | None = None) -> TrainingSet:
    """A corpus with its units, and its pitch as `vocoders.prosody` wants it."""
    return open_training_set(open_corpus(spec), sample_rate=model.sample_rate, lengths=run.data.lengths,
                             labels=None if labels is None else Path(labels), rate_hz=model.rate_hz,
                             pitch=None if pitch is None else Path(pitch), pitch_scaled=False,
                             group_by="speaker" if run.data.speakers else None)  # fmt: skip


def measure(decoder: MelDecoder, batches: Batches) -> None:
    """Mean and scale of each mel bin over the first batches, in whole units."""
    ratio, hop = decoder.config.frames_per_unit, decoder.config.hop * decoder.config.frames_per_unit

    def mels(batch: Batch) -> tuple[Tensor, Tensor]:
        frames = batch.lengths // hop
        return decoder.mels(decoder.patches(batch.wav, batch.lengths, int(frames.max()))), frames * ratio

    measure_mels(decoder, batches, mels)


if __name__ == "__main__":
    sys.exit(main())
