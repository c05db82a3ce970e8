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
from typing import Literal

import numpy as np
import torch

from speechssl import audio
from speechssl.data.corpus import Corpus, read_utterance
from speechssl.data.export_kaldi import write_kaldi
from speechssl.data.lines import check_id
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, ConfigError, DataError
from speechssl.extract import atomic, lock
from speechssl.extract import job as jobs
from speechssl.extract.merge import SUMS
from speechssl.extract.outputs import read_units
from speechssl.extract.waveforms import claim
from speechssl.units.model import UnitModel
from speechssl.units.units import Units
from speechssl.units.vocoder import Vocoder

_FORMAT = "speechssl-resynth-1"
Durations = Literal["kept", "predicted"]


@dataclass(frozen=True)
class Speaking:
    """How units are spoken."""

    speaker: str | None = None
    speed: float = 1.0  # 2: twice as fast
    durations: Durations = "kept"  # of runs of one unit: those of the recording, or the vocoder's own

    def __post_init__(self) -> None:
        """Refuse speeds that nobody speaks at."""
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


def of_corpus(corpus: Corpus, model: UnitModel) -> Iterator[tuple[Utterance, Units | AudioError]]:
    """Every utterance with its units, or with what is wrong with it."""
    for utterance in corpus.utterances:
        try:
            samples = read_utterance(utterance, sample_rate=model.sample_rate).samples
            units = model(samples, model.sample_rate)
            if not len(units):
                raise AudioError("too-short", f"{len(samples)} samples are no frame")
            yield utterance, units
        except AudioError as error:
            yield utterance, error


def of_units(folder: Path) -> Iterator[tuple[Utterance, Units | AudioError]]:
    """Every utterance of a finished output folder of `speechssl units`. DataError where it is none."""
    if not (folder / SUMS).exists():
        raise DataError(f"{folder}: not finished; give the same `speechssl units` command again to go on")
    for name, units in read_units(folder):
        yield Utterance(name, name), units if len(units) else AudioError("too-short", "no units")


def identity(source: Corpus | Path, unit_model: str, vocoder: Vocoder, speaking: Speaking) -> dict[str, str]:
    """What decides the recordings. DataError where the vocoder does not speak these units."""
    vocoder.check(unit_model)
    digest = hashlib.sha256()
    if isinstance(source, Path):
        digest.update(atomic.sha256(source / SUMS).encode())
    else:
        for row in source.utterances:
            digest.update(json.dumps([row.id, row.audio, row.start_s, row.end_s]).encode())
    return {"format": _FORMAT, "input": digest.hexdigest(), "units": unit_model, "vocoder": vocoder.card.sha256,
            "speaking": json.dumps(dataclasses.asdict(speaking), sort_keys=True)}  # fmt: skip


def resynthesize(
    spoken: Iterator[tuple[Utterance, Units | AudioError]], target: str | Path, vocoder: Vocoder, speaking: Speaking,
    claimed: dict[str, str], *, beat: Callable[[int], None] = lambda done: None,
) -> Resynthesis:  # fmt: skip
    """Recordings of all utterances; see `of_corpus`, `of_units` and `identity`. beat is told how many are done.

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
                wav = say(units, vocoder, speaking)
                audio.write(path, wav, vocoder.card.sample_rate)
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
    return Resynthesis(str(target), len(done), len(failures), made, samples / vocoder.card.sample_rate,
                       time.monotonic() - began)  # fmt: skip


def say(units: Units, vocoder: Vocoder, speaking: Speaking) -> np.ndarray:
    """The waveform [S] of an utterance's units."""
    if speaking.durations == "predicted":
        ids = units.dedup().ids
        units = dataclasses.replace(units.dedup(), durations=vocoder.predict_durations(ids))
    frames = units.frames()[at_speed(units.num_frames, speaking.speed)]
    return vocoder(torch.from_numpy(frames), speaking.speaker).numpy()


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
