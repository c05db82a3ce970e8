"""A corpus of tones with labels, a small model, and a training of a few updates."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from recipes.pretrain import main
from tests.objectives.tiny import ENCODER


def corpus(folder: Path, num_utterances: int = 24) -> Path:
    """WAV files of 0.6 to 1.6 s and `folder`.labels: the tone's number per frame."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = []
    for number in range(num_utterances):
        length = int(random.integers(9600, 25600))
        notes = np.repeat(random.integers(5, size=1 + length // 1600), 1600)[:length]
        wave = 0.3 * np.sin(np.cumsum(2 * np.pi * (150 + 130 * notes) / 16000)) + random.normal(0, 0.02, length)
        soundfile.write(folder / f"u{number:02}.wav", wave, 16000)
        lines.append(f"u{number:02} " + " ".join(map(str, notes[200::320][: (length - 400) // 320 + 1])) + "\n")
    folder.with_suffix(".labels").write_text("".join(lines))
    return folder


def settings(data: Path, run: Path, **others: Any) -> list[str]:
    """Overrides for a tiny HuBERT."""
    values: dict[str, Any] = {
        "objective": "hubert", "run": run, "threads": 1, "data.train": data, "data.labels": data.with_suffix(".labels"),
        "data.batching.seconds": 8.0, "data.batching.crop_s": 1.2, "settings.code_dim": 8, "encoder.family": "hubert",
        "training.updates": 6, "training.log_every": 1, "training.save_every": 2, "training.workers": 0,
        "dropout.residual": 0.1, "dropout.layer": 0.0, "optimizer.lr": 1e-3, "training.keep": 9,
    }  # fmt: skip
    values |= {f"encoder.{name}": value for name, value in ENCODER.items()}
    values |= {name.replace("__", "."): value for name, value in others.items()}
    return [f"{name}={_toml(value)}" for name, value in values.items() if value is not None]


def train(data: Path, run: Path, **others: Any) -> int:
    """A run; the recipe's exit code."""
    return main(settings(data, run, **others))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
