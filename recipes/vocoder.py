"""Training of a unit vocoder against discriminators: units to speech.

    speechssl units data/train -o exp/units
    python -m recipes.vocoder recipes/conf/tiny_unit_hifigan.toml run=exp/vocoder data.train=data/train \\
        data.labels=exp/units data.valid=data/valid data.valid_labels=exp/units_valid
    python -m recipes.vocoder recipes/conf/unit_hifigan.toml device=cuda training.precision=bf16 data.train=...
    torchrun --nproc-per-node 8 -m recipes.vocoder recipes/conf/unit_hifigan.toml device=cuda data.train=...

Takes TOML files, of which the later win, and key=value overrides. unit_hifigan.toml has the published size;
tiny_unit_hifigan.toml is one for minutes of a GPU or hours of two cores. The units' number and rate come from
data.labels. data.speakers=true gives every speaker of the data (utt2spk) an embedding; without it all speak with one
voice. start=FOLDER begins with the weights of a vocoder that was trained before, of the same shape and units: first by
losses.adversarial=0 losses.feature_matching=0, many times faster, and then against discriminators; or on to another
voice. Goes on from the newest checkpoint in the run's folder where there is one, bit for bit on a CPU. Writes into it:
config.toml (everything resolved), log.jsonl (mel distance of the validation set before the first update, too),
checkpoints/, vocoder/ (what `speechssl.load_vocoder` reads) and result.json. Exit code: 0 trained to the end, 2 stopped
early or refused.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes import adversarial
from recipes.shared import Common, count, run_recipe, start_folder
from speechssl.data.corpus import open_corpus
from speechssl.data.pitch_files import read as read_pitch
from speechssl.data.training_set import TrainingSet, open_training_set
from speechssl.errors import ConfigError, DataError
from speechssl.training.adversarial import Adversarial
from speechssl.training.adversarial import Config as Losses
from speechssl.training.distributed import Group
from speechssl.units import pitch_coder as coder_files
from speechssl.units import vocoder as vocoder_files
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.learning import Learning
from speechssl.vocoders.unit_vocoder import Config as VocoderConfig
from speechssl.vocoders.unit_vocoder import UnitVocoder

_STEP = 3  # units by which a recording and its labels may differ


@dataclass(frozen=True, kw_only=True)
class Data(adversarial.Data):
    """What to train on: anything that `speechssl units` takes as its input, and the units of it."""

    labels: str  # an output of `speechssl units` (text, not merged); or its text file, then give vocoder.num_units
    valid_labels: str | None = None  # None: they are among `labels`
    speakers: bool = False  # every speaker has an embedding
    pitch: str | None = None  # an output of `speechssl pitch`, where vocoder.pitch_channels or pitch_bins want it
    valid_pitch: str | None = None  # None: it is among `pitch`

    def __post_init__(self) -> None:
        """What goes together."""
        super().__post_init__()
        if self.valid is None and (self.valid_labels or self.valid_pitch):
            raise ConfigError("data.valid_labels and data.valid_pitch have no effect without data.valid")


@dataclass(frozen=True)
class Run(Common):
    """Everything that decides a run."""

    data: Data
    vocoder: VocoderConfig
    run: str = "exp/vocoder"  # the run's folder
    name: str = ""  # of the vocoder
    licence: str = ""  # of the vocoder
    pitch_codes: str | None = None  # folder of recipes.pitch_codes: its codes are the bins of data.pitch
    start: str | None = None  # folder of a vocoder whose weights are the first ones; discriminators are fresh
    losses: Losses = field(default_factory=Losses)


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run, in this process as a member of `group`."""
    adversarial.check_whole(run)
    units, coder = spoken(run), None
    if run.pitch_codes is not None:
        coder, card = coder_files.load(run.pitch_codes)
        if run.vocoder.pitch_bins or run.vocoder.pitch_coder is not None:
            raise ConfigError("vocoder.pitch_bins and vocoder.pitch_coder follow from pitch_codes: leave them out")
        if coder.config.frames_per_unit != 1 or card.rate_hz != units.rate_hz:
            raise ConfigError(f"{run.pitch_codes} codes {card.rate_hz:g} frames of F0 a second, and there are "
                              f"{units.rate_hz:g} units")  # fmt: skip
        run = replace(run, vocoder=replace(run.vocoder, pitch_bins=coder.config.num_codes, pitch_coder=coder.config))
    own = replace(run.vocoder, num_units=units.num_units, speakers=speakers(run), pitch_centres=centres(run))
    run = replace(run, vocoder=own)
    torch.manual_seed(run.seed)
    objective = build(run, units)  # before the folder: what cannot be built leaves nothing behind
    vocoder = objective.generator.vocoder
    if coder is not None:
        vocoder.pitch_coder.load_state_dict(coder.state_dict())
    vocoder_files.check_fits(vocoder, units)
    log = start_folder(run, Path(run.run), group)
    data, valid = open_data(run, run.data.train, run.data.labels, run.data.pitch, vocoder), None
    if run.data.valid is not None:
        valid = open_data(run, run.data.valid, run.data.valid_labels or run.data.labels,
                          run.data.valid_pitch or run.data.pitch, vocoder)  # fmt: skip

    def keep(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
        name = run.name or f"unit vocoder, {facts['updates']} updates, seed {run.seed}"
        card = vocoder_files.save(folder, objective.generator.trained(), units, name=name, licence=run.licence,
                                  training=facts)  # fmt: skip
        return {"rate_hz": card.rate_hz, "sha256": card.sha256}

    told = (f"{count(vocoder) / 1e6:.2f} M parameters, {count(objective) / 1e6:.2f} M in training, "
            f"{units.num_units} units at {vocoder.rate_hz:g} Hz, {len(vocoder.config.speakers)} speakers")  # fmt: skip
    return adversarial.learn(run, objective, data, valid, hop=vocoder.hop, group=group, log=log, what="vocoder",
                             told=told, keep=keep)  # fmt: skip


def build(run: Run, units: SpokenUnits) -> Adversarial:
    """The vocoder with its discriminators; weights as torch draws them, or those of run.start."""
    vocoder = UnitVocoder(run.vocoder)
    if run.start is not None:
        before = vocoder_files.load(run.start)
        before.check(units.sha256)
        shape = replace(vocoder.config, durations=before.module.config.durations)  # which are taught afterwards
        if before.module.config != shape:
            raise ConfigError(f"{run.start} has another shape than vocoder: give the settings of its card.json")
        found = before.module.state_dict().items()
        vocoder.load_state_dict({name: value for name, value in found if not name.startswith("durations.")})
    return Adversarial(Learning(vocoder), run.losses, sample_rate=vocoder.sample_rate)


def spoken(run: Run) -> SpokenUnits:
    """Whose units they are. ConfigError where nobody says how many there are."""
    path, stated = Path(run.data.labels), run.vocoder.num_units
    if not path.is_dir():
        if not stated:
            raise ConfigError(f"{path} does not say how many units there are: give the output folder of speechssl "
                              "units, or vocoder.num_units")  # fmt: skip
        with torch.device("meta"):
            return SpokenUnits(stated, UnitVocoder(run.vocoder).rate_hz)
    units = SpokenUnits.of_folder(path)
    other = None if run.data.valid_labels is None else Path(run.data.valid_labels)
    if other is not None and other.is_dir() and SpokenUnits.of_folder(other).sha256 != units.sha256:
        raise ConfigError(f"{other} has units of another unit model than {path}")
    if stated not in (0, units.num_units):
        raise ConfigError(f"vocoder.num_units={stated}, but {path} has {units.num_units}: leave it out")
    return units


def speakers(run: Run) -> tuple[str, ...]:
    """Names of the speakers that get an embedding: those of the training data."""
    if not run.data.speakers:
        if run.vocoder.speakers:
            raise ConfigError("vocoder.speakers has no effect without data.speakers=true")
        return ()
    found = {utterance.speaker for utterance in open_corpus(run.data.train).utterances}
    if None in found:
        raise DataError(f"{run.data.train}: some utterances have no speaker, and data.speakers needs them")
    names = tuple(sorted(str(name) for name in found))
    if run.vocoder.speakers not in ((), names):
        raise ConfigError(f"vocoder.speakers are not those of {run.data.train}: leave them out")
    return names


def centres(run: Run) -> tuple[float, ...]:
    """Of the bins of pitch: a scalar codebook by k-means of the training data's voiced frames."""
    bins = run.vocoder.pitch_bins
    if (run.data.pitch is not None) != run.vocoder.has_pitch:
        raise ConfigError("data.pitch and one of vocoder.pitch_channels and vocoder.pitch_bins go together")
    if not bins or run.data.pitch is None or run.vocoder.pitch_centres or run.vocoder.pitch_coder is not None:
        return run.vocoder.pitch_centres
    folder = read_pitch(run.data.pitch)
    values = np.concatenate([folder.normalized(name) for name in folder.card.ids])
    voiced = np.unique(values[values[:, 1] > 0.5, 0].astype(np.float64))
    if len(voiced) < bins - 1:
        raise DataError(f"{run.data.pitch}: {len(voiced)} values of voiced frames for {bins - 1} bins")
    return tuple(float(one) for one in scalar_codebook(values[values[:, 1] > 0.5, 0].astype(np.float64), bins - 1))


def scalar_codebook(values: np.ndarray, size: int) -> np.ndarray:
    """Rising centres [size] of values [N]: Lloyd's algorithm from quantiles (Lloyd-Max), empty cells left out."""
    found = np.unique(np.quantile(values, (np.arange(size) + 0.5) / size))
    for _ in range(100):
        cells = np.searchsorted((found[1:] + found[:-1]) / 2, values)
        counts = np.bincount(cells, minlength=len(found))
        moved = np.bincount(cells, values, minlength=len(found))[counts > 0] / counts[counts > 0]
        if len(moved) == len(found) and np.allclose(moved, found, atol=1e-9, rtol=0):
            break
        found = np.unique(moved)
    if len(found) < size:
        raise DataError(f"pitch has too few different values for {size} bins: fewer vocoder.pitch_bins")
    return found


def open_data(run: Run, spec: str, labels: str, pitch: str | None, vocoder: UnitVocoder) -> TrainingSet:
    """A corpus with its units, ready for training. DataError where they do not belong together."""
    found = open_training_set(open_corpus(spec), sample_rate=vocoder.sample_rate, lengths=run.data.lengths,
                              labels=Path(labels), rate_hz=vocoder.rate_hz,
                              pitch=None if pitch is None else Path(pitch),
                              group_by="speaker" if run.data.speakers else None)  # fmt: skip
    assert found.labels is not None
    if found.labels.size > vocoder.config.num_units:
        raise DataError(f"{labels}: unit {found.labels.size - 1} is unknown to a vocoder of {vocoder.config.num_units}")
    names = vocoder.config.speakers
    if found.groups is not None and found.group_names != names:
        if strange := sorted(set(found.group_names) - set(names)):
            raise DataError(f"{spec}: speaker {strange[0]!r} is not in the training data")
        numbers = np.array([names.index(name) for name in found.group_names])
        found = replace(found, groups=numbers[found.groups], group_names=names)
    expected = found.seconds * vocoder.rate_hz
    wrong = np.flatnonzero((found.seconds > 0) & (abs(expected - found.labels.counts) > _STEP))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"{labels}: {found.labels.counts[row]} units for {found.seconds[row]:.2f} s of "
                        f"{found.corpus.utterances[row].id!r}, {len(wrong)} utterances like that: units of other "
                        "recordings?")  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(main())
