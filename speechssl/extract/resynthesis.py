"""Speech through units and back: a Kaldi data directory of WAV files that a unit vocoder made of recordings or units.

OUT/audio/HASH.wav   each written whole or not at all; one that is there is not made again
OUT/resynth.json     of which input, by which models and settings: a run that goes on must have the same
OUT/failures.tsv     utterances that could not be spoken, with their reason
OUT/wav.scp          ids and files, utt2spk; written last
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from speechssl import audio
from speechssl.data.corpus import Corpus, read_utterance
from speechssl.data.export_kaldi import write_kaldi
from speechssl.data.lines import check_id
from speechssl.data.pitch import shifted
from speechssl.data.pitch_files import PitchFolder
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, ConfigError, DataError
from speechssl.extract import atomic, lock
from speechssl.extract import job as jobs
from speechssl.extract.merge import SUMS
from speechssl.extract.outputs import read_units
from speechssl.extract.waveforms import claim
from speechssl.units.model import UnitModel
from speechssl.units.units import Units
from speechssl.units.vocoder import Precision

_FORMAT = "speechssl-resynth-1"
Durations = Literal["kept", "predicted"]


class Voice(Protocol):
    """Who speaks units: `units.vocoder.Vocoder`, `mel_voice.MelVoice`, or a target of `voice_conversion`; or recordings
    again: `mel_vocoder.CopySynthesis`.
    """

    @property
    def sample_rate(self) -> int:
        """Hz."""
        ...

    @property
    def identity(self) -> str:
        """What decides the samples."""
        ...

    @property
    def has_pitch(self) -> bool:
        """Whether it is told the pitch of every unit."""
        ...

    @property
    def takes_units(self) -> bool:
        """Whether units are what it speaks; else features of speech, so that it needs recordings."""
        ...

    def hear(self, model: UnitModel, samples: np.ndarray) -> Units | Tensor:
        """What it speaks of a recording's samples [S]: units, or features [T, D]."""
        ...

    def __call__(self, units: Tensor, speaker: str | None = None, pitch: Tensor | None = None) -> Tensor:
        """Samples [S] of ids [T] of every frame, or of features [T, D]."""
        ...

    def check(self, unit_model: str) -> None:
        """DataError for units of another unit model."""
        ...

    def predict_durations(self, ids: np.ndarray) -> np.ndarray:
        """Frames [N] of deduplicated ids [N]. DataError where it cannot."""
        ...

    def pitch_input(self, pitch: Tensor) -> Tensor:
        """What it takes of normalised log F0 and voicing [..., 2]."""
        ...


@dataclass(frozen=True)
class Speaking:
    """How units are spoken."""

    speaker: str | None = None
    speed: float = 1.0  # 2: twice as fast
    durations: Durations = "kept"  # of runs of one unit: those of the recording, or the vocoder's own
    semitones: float = 0.0  # higher, where the vocoder is told the pitch
    precision: Precision = "fp32"  # of the vocoder

    def __post_init__(self) -> None:
        """Refuse what nobody speaks like."""
        if not -48 <= self.semitones <= 48:
            raise ConfigError(f"f0 is moved by at most 48 semitones, not by {self.semitones:g}")
        if not 0.1 <= self.speed <= 10:
            raise ConfigError(f"speed {self.speed:g} must lie in 0.1..10")


@dataclass(frozen=True)
class Resynthesis:
    """What a run did. `exit_code`: 0 all, 1 some could not be spoken, 2 none."""

    output: str
    utterances: int  # that were spoken, in this run or before
    failed: int
    made: int  # in this run
    seconds: float  # of audio, made in this run
    wall_s: float

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed, 2 nothing useful."""
        return (1 if self.utterances else 2) if self.failed else 0


Heard: TypeAlias = Units | Tensor | AudioError  # units of a recording, its features [T, D], or what is wrong with it


def of_corpus(
    corpus: Corpus, hear: Callable[[np.ndarray], Units | Tensor], *, sample_rate: int
) -> Iterator[tuple[Utterance, Heard]]:
    """Every utterance with what a voice speaks of it, or with what is wrong with it.

    hear: what that is of samples [S] at sample_rate.
    """
    for utterance in corpus.utterances:
        try:
            samples = read_utterance(utterance, sample_rate=sample_rate).samples
            units = hear(samples)
            if not len(units):
                raise AudioError("too-short", f"{len(samples)} samples are no frame")
            yield utterance, units
        except AudioError as error:
            yield utterance, error


def of_units(folder: Path) -> Iterator[tuple[Utterance, Heard]]:
    """Every utterance of a finished output folder of `speechssl units`. DataError where it is none."""
    if not (folder / SUMS).exists():
        raise DataError(f"{folder}: not finished; give the same `speechssl units` command again to go on")
    for name, units in read_units(folder, reduced=True):
        yield Utterance(name, name), units if len(units) else AudioError("too-short", "no units")


def identity(
    source: Corpus | Path, unit_model: str, vocoder: Voice, speaking: Speaking, pitch: PitchFolder | None = None
) -> dict[str, str]:
    """What decides the recordings. DataError where the vocoder does not speak these units, or needs pitch."""
    vocoder.check(unit_model)
    if isinstance(source, Path) and not vocoder.takes_units:
        raise DataError(f"{source}: units, and this voice takes features of speech: give the recordings")
    if isinstance(source, Path) and jobs.load(source).model.reduced and (pitch or speaking.durations == "kept"):
        raise ConfigError(f"{source}: units of a normaliser are merged and say nothing of time: --durations predicted, "
                          "and a vocoder without pitch")  # fmt: skip
    if vocoder.has_pitch != (pitch is not None):
        raise DataError("this vocoder needs the pitch of the recordings: give an output of speechssl pitch"
                        if pitch is None else "this vocoder takes no pitch")  # fmt: skip
    if pitch is None and speaking.semitones:
        raise ConfigError("f0 cannot be moved: this vocoder takes no pitch")
    digest = hashlib.sha256()
    if isinstance(source, Path):
        digest.update(atomic.sha256(source / SUMS).encode())
    else:
        for row in source.utterances:
            digest.update(json.dumps([row.id, row.audio, row.start_s, row.end_s]).encode())
    if pitch is not None:
        digest.update(pitch.values.tobytes())
    return {"format": _FORMAT, "input": digest.hexdigest(), "units": unit_model, "vocoder": vocoder.identity,
            "speaking": json.dumps(dataclasses.asdict(speaking), sort_keys=True)}  # fmt: skip


def resynthesize(
    spoken: Iterator[tuple[Utterance, Heard]], target: str | Path, vocoder: Voice, speaking: Speaking,
    claimed: dict[str, str], *, pitch: PitchFolder | None = None, beat: Callable[[int], None] = lambda done: None,
    speak: Callable[[Utterance, Units | Tensor], np.ndarray] | None = None,
) -> Resynthesis:  # fmt: skip
    """Recordings of all utterances; see `of_corpus`, `of_units` and `identity`. beat is told how many are done.

    speak: in place of `say`, where it takes more than units; AudioError where an utterance cannot be spoken.

    Raises DataError where `target` holds anything else, and for units that the vocoder cannot speak.
    """
    began, target = time.monotonic(), Path(target)
    done: list[Utterance] = []
    failures: list[tuple[str, str, str]] = []
    made = samples = 0
    claim(target, claimed, "resynth")
    with lock.writing(target, (0, 1)):
        atomic.clean(target, "resynth")
        (target / "audio").mkdir(exist_ok=True)
        for utterance, units in spoken:
            check_id(utterance.id, f"{target}/wav.scp")
            if isinstance(units, AudioError):
                failures.append((utterance.id, units.code, " ".join(str(units).split())))
                continue
            path = target / "audio" / f"{hashlib.sha256(utterance.id.encode()).hexdigest()[:32]}.wav"
            if not path.exists():
                try:
                    wav = (speak(utterance, units) if speak is not None
                           else say(units, vocoder, speaking, track(pitch, utterance.id, speaking)))  # fmt: skip
                except AudioError as error:
                    failures.append((utterance.id, error.code, " ".join(str(error).split())))
                    continue
                audio.write(path, wav, vocoder.sample_rate)
                made, samples = made + 1, samples + len(wav)
            done.append(Utterance(utterance.id, str(path), speaker=speaking.speaker or utterance.speaker))
            beat(len(done))
        with atomic.scratch(target, "resynth") as scratch:
            rows = "".join("\t".join(row) + "\n" for row in failures)
            (scratch / "failures.tsv").write_text("id\tcode\terror\n" + rows, encoding="utf-8")
            atomic.commit(scratch, target)
        if done:
            with atomic.scratch(target, "resynth") as scratch:
                write_kaldi(done, scratch / "tables", {}, {})
                atomic.commit(scratch / "tables", target)
    return Resynthesis(str(target), len(done), len(failures), made, samples / vocoder.sample_rate,
                       time.monotonic() - began)  # fmt: skip


def say(units: Units | Tensor, vocoder: Voice, speaking: Speaking, pitch: np.ndarray | None = None) -> np.ndarray:
    """The waveform [S] of an utterance's units (or features [T, D]), with their normalised pitch [T, 2] where the
    vocoder takes it. DataError for features whose durations are to be predicted.
    """
    content = torch.from_numpy(units.frames()) if isinstance(units, Units) else units
    places = np.arange(len(content))
    if speaking.durations == "predicted":
        if not isinstance(units, Units):
            raise DataError("features of speech have no runs whose durations could be predicted: --durations kept")
        runs = units.dedup()
        places = stretched(runs.durations, vocoder.predict_durations(runs.ids))
    places = places[at_speed(len(places), speaking.speed)]
    values = None
    if pitch is not None:
        whole = np.concatenate([pitch, np.zeros((max(0, len(content) - len(pitch)), 2), np.float32)])
        values = vocoder.pitch_input(torch.from_numpy(whole[places]))
    return vocoder(content[torch.from_numpy(places)], speaking.speaker, values).numpy()


def track(pitch: PitchFolder | None, name: str, speaking: Speaking) -> np.ndarray | None:
    """Normalised pitch [T, 2] of an utterance as it is to be spoken; DataError where it is not known."""
    if pitch is None:
        return None
    return shifted(pitch.normalized(name), speaking.semitones, pitch.statistics(name))


def stretched(durations: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which frames [sum of wanted] to speak so that runs of so many frames last as many as wanted."""
    starts = np.cumsum(durations) - durations
    parts = [start + ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
             for start, old, new in zip(starts, durations, wanted, strict=True)]  # fmt: skip
    return np.concatenate([*parts, np.zeros(0, np.int64)])


def at_speed(num_frames: int, speed: float) -> np.ndarray:
    """Which frames [N] to speak of T, each the one that lies there in time: N = round(T / speed), at least one.

    Faster than 1, runs that are shorter than a frame's time may be passed over.
    """
    count = max(1, round(num_frames / speed)) if num_frames else 0
    return np.minimum(((np.arange(count) + 0.5) * speed).astype(np.int64), num_frames - 1)


def unit_model_of(folder: Path) -> str:
    """The hash of the unit model of an output folder of `speechssl units`. DataError where it is none."""
    job = jobs.load(folder)
    if job.kind != "units" or job.model.unit_model is None:
        raise DataError(f"{folder}: holds features, not units")
    return job.model.unit_model
