"""A corpus changed in ways that do not alter what is said, as a new Kaldi data directory under the same ids."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from speechssl import audio
from speechssl.audio.augment import Augmentation, FloatArray, augment
from speechssl.data.corpus import read_utterance
from speechssl.data.export_kaldi import write_kaldi
from speechssl.data.kaldi_dir import new_folder
from speechssl.data.processes import mapping
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, DataError


def write_augmented(
    utterances: Sequence[Utterance], target: Path, settings: Augmentation, *, sample_rate: int, seed: int = 0,
    noise: FloatArray | None = None, workers: int = 0,
) -> tuple[list[str], list[tuple[str, AudioError]]]:  # fmt: skip
    """Write TARGET/wav.scp and its kin, recordings as 16-bit WAV in TARGET/audio. Returns notes and what was left out.

    What is drawn for an utterance depends on `seed` and its id alone. Raises DataError where `target` is there already
    or nothing can be read.
    """
    with new_folder(target) as temporary:
        (temporary / "audio").mkdir()
        one = partial(_write_one, folder=temporary / "audio", settings=settings, sample_rate=sample_rate, seed=seed,
                      noise=noise)  # fmt: skip
        done: list[Utterance] = []
        failed: list[tuple[str, AudioError]] = []
        with mapping(workers) as mapped:
            for utterance, outcome in zip(utterances, mapped(one, utterances), strict=True):
                if isinstance(outcome, AudioError):
                    failed.append((utterance.id, outcome))
                else:
                    path = str(target.resolve() / "audio" / outcome)
                    done.append(replace(utterance, audio=path, start_s=None, end_s=None, pipe=False, recording=None))
        if not done:
            raise DataError(f"no recording can be used; the first: {failed[0][1]}" if failed else "no utterances")
        notes = write_kaldi(done, temporary / "tables", {}, {})
        for table in (temporary / "tables").iterdir():
            table.rename(temporary / table.name)
        (temporary / "tables").rmdir()
    return notes, failed


def _write_one(
    utterance: Utterance, *, folder: Path, settings: Augmentation, sample_rate: int, seed: int,
    noise: FloatArray | None,
) -> str | AudioError:  # fmt: skip
    """The name of its file."""
    try:
        samples = read_utterance(utterance, sample_rate=sample_rate).samples
    except AudioError as error:
        return error
    name = f"{_digest(utterance.id).hex()[:32]}.wav"  # an id may hold anything, a name not
    audio.write(folder / name, augment(samples, sample_rate, settings, draws(utterance.id, seed), noise), sample_rate)
    return name


def draws(key: str, seed: int) -> np.random.Generator:
    """Where rooms and noise for the utterance of this id are drawn from."""
    return np.random.default_rng([seed, *np.frombuffer(_digest(key), np.uint32).tolist()])


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
