"""Small corpora and models, and what a finished folder must hold."""

from pathlib import Path

import numpy as np
import soundfile

from speechssl.data.corpus import Corpus, open_corpus
from speechssl.extract.job import ModelSpec
from tests.units.test_model import mfcc_model

# What may differ from run to run: times and the order in which workers finished.
NOT_COMPARED = ("report.json", "sha256sums", "journal", "lock")


def corpus(folder: Path, num_utterances: int = 12, *, seconds: float = 0.3) -> Corpus:
    """WAV files of noise of different lengths in two folders."""
    random = np.random.default_rng(0)
    for number in range(num_utterances):
        path = folder / "ab"[number % 2] / f"u{number:03}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        num_samples = int(16000 * seconds * random.uniform(0.5, 1.5))
        soundfile.write(path, random.uniform(-0.5, 0.5, num_samples), 16000)
    return open_corpus(folder)


def model(folder: Path, num_units: int = 20) -> ModelSpec:
    """A random MFCC unit model, saved."""
    mfcc_model(num_units).save(folder)
    return ModelSpec(unit_model=str(folder))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that must be the same in every run of a job."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.startswith(NOT_COMPARED)
    }
