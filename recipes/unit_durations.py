"""Teach a unit vocoder how long units last, so that it can speak units that were merged.

    python -m recipes.unit_durations vocoder=exp/vocoder/vocoder units=exp/units run=exp/vocoder/with_durations
    python -m recipes.unit_durations vocoder=... units=exp/units valid=exp/units_valid settings.updates=3000 run=...

From units alone (outputs of `speechssl units`, text, not merged), in a minute on a CPU. Writes into run=FOLDER the same
vocoder with a predictor, and durations.json: mean absolute error on `valid`, beside that of every unit's own mean.
Exit code: 0 done, 2 refused.
"""

import json
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from recipes.shared import run_recipe
from speechssl.data.frame_labels import FrameLabels
from speechssl.data.lines import read_lines
from speechssl.errors import ConfigError
from speechssl.training import durations
from speechssl.training.distributed import Group
from speechssl.training.durations import Settings
from speechssl.units import vocoder as vocoder_files
from speechssl.units.units import Units
from speechssl.units.vocoder import SpokenUnits, Vocoder
from speechssl.vocoders.durations import Settings as Predictor


@dataclass(frozen=True)
class Run:
    """Everything that decides a run."""

    vocoder: str  # folder
    units: str  # folder
    run: str  # folder to write
    valid: str | None = None  # folder
    predictor: Predictor = field(default_factory=Predictor)
    settings: Settings = field(default_factory=Settings)
    device: Literal["cpu"] = "cpu"
    seed: int = 0


def main(arguments: list[str] | None = None) -> int:
    """Train as the arguments say: TOML files and key=value overrides."""
    return run_recipe(Run, train, __doc__, arguments)


def train(run: Run, group: Group) -> int:
    """One run."""
    vocoder, folder = vocoder_files.load(run.vocoder), Path(run.run)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is there and holds something: give another run=FOLDER")
    known = read(vocoder, run.units)
    held_out = None if run.valid is None else read(vocoder, run.valid)
    taught, losses = durations.learn(vocoder.module, known, run.settings, run.predictor, seed=run.seed)
    found: dict[str, object] = {"loss": sum(losses[-100:]) / len(losses[-100:])}
    for name, units in (("train", known), ("valid", held_out)):
        if units is not None:
            found[name] = asdict(durations.score(taught, units))
            found[f"{name}_of_means"] = asdict(durations.floor(known, units))
    card = replace(vocoder.card, training={**vocoder.card.training, "durations": {"updates": run.settings.updates}})
    vocoder_files.save(folder, taught, card.units, name=card.name, licence=card.licence, training=card.training)
    (folder / "durations.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    return 0


def read(vocoder: Vocoder, folder: str) -> list[Units]:
    """Units of a folder, which must be those that the vocoder speaks."""
    stated = SpokenUnits.of_folder(folder)
    vocoder.check(stated.sha256)
    names = [line.partition(" ")[0] for _, line in read_lines(Path(folder) / "units")]
    labels = FrameLabels.read(Path(folder), names, stated.rate_hz)
    return [Units.from_frames(labels.of(row), rate_hz=stated.rate_hz, size=stated.num_units)
            for row in range(len(names))]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
