"""Learn codes of F0 for unit vocoders: a small VQ-VAE of pitch contours (arXiv:2104.00355).

    speechssl pitch data/train -o exp/pitch
    python -m recipes.pitch_codes pitch=exp/pitch valid=exp/pitch_valid run=exp/pitch_codes
    python -m recipes.vocoder recipes/conf/tiny_unit_hifigan.toml pitch_codes=exp/pitch_codes data.pitch=exp/pitch ...

From outputs of `speechssl pitch` alone, in minutes on a CPU. Writes into run=FOLDER the coder and scores.json: how far
the F0 that comes back is from the real one (in deviations of the speaker), how much voicing is wrong, how many codes
are used. Exit code: 0 done, 2 refused.
"""

import json
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from recipes.shared import run_recipe
from speechssl.data import pitch_files
from speechssl.errors import ConfigError, DataError
from speechssl.training import pitch_codes
from speechssl.training.distributed import Group
from speechssl.training.pitch_codes import Settings
from speechssl.units import pitch_coder as coder_files
from speechssl.vocoders.pitch_coder import Config


@dataclass(frozen=True)
class Run:
    """Everything that decides a run."""

    pitch: str  # folder
    run: str  # folder to write
    valid: str | None = None  # folder
    coder: Config = field(default_factory=Config)
    settings: Settings = field(default_factory=Settings)
    device: Literal["cpu"] = "cpu"
    seed: int = 0


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run."""
    folder = Path(run.run)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is there and holds something: give another run=FOLDER")
    known, rate = contours(run.pitch)
    held_out = None
    if run.valid is not None:
        held_out, other = contours(run.valid)
        if other != rate:
            raise DataError(f"{run.valid} has {other:g} frames a second, {run.pitch} {rate:g}")
    coder, losses = pitch_codes.learn(known, run.coder, run.settings, seed=run.seed)
    bitrate = rate / coder.config.ratio * math.log2(coder.config.num_codes)
    found: dict[str, object] = {"loss": sum(losses[-100:]) / len(losses[-100:]), "bits_per_s": bitrate}
    for name, tracks in (("train", known), ("valid", held_out)):
        if tracks is not None:
            found[name] = asdict(pitch_codes.score(coder, tracks))
    training = {"recipe": "recipes.pitch_codes", "updates": run.settings.updates, "seed": run.seed,
                "frames": sum(map(len, known))}  # fmt: skip
    coder_files.save(folder, coder, rate, training)
    (folder / "scores.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    return 0


def contours(folder: str) -> tuple[list[np.ndarray], float]:
    """Normalised pitch [T, 2] of all utterances, and its frames a second."""
    found = pitch_files.read(folder)
    return [found.normalized(name) for name in found.card.ids], found.card.settings.rate_hz


if __name__ == "__main__":
    sys.exit(main())
