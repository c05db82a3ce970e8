"""The recipe of unit normalisers: two voices learn the units of one, and what does not fit is refused or left out."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from recipes import ctc
from recipes.shared import make_encoder
from recipes.unit_normalizer import Run, main
from speechssl import config
from speechssl.cli import main as speechssl
from speechssl.metrics.edits import edit_distance
from speechssl.units.normalizer import UnitNormalizer, vocabulary_of
from tests.encoders.tiny import TINY
from tests.training.helpers import _toml

CONF = Path(__file__).parent.parent.parent / "recipes" / "conf"
NOTES, REFERENCE = 4, "a" * 64


def voice(folder: Path, lowest_hz: int, *, contents: dict[str, list[int]], prefix: str = "") -> Path:
    """A Kaldi data dir of melodies: a note is 0.2 s, four higher for every step, then a pause."""
    random = np.random.default_rng(lowest_hz)
    folder.mkdir(parents=True)
    tables: dict[str, list[str]] = {"wav.scp": [], "utt2content": []}
    for name, notes in contents.items():
        tones = [0.3 * np.sin(2 * np.pi * (lowest_hz + 400 * note) * np.arange(3200) / 16000) for note in notes]
        wave = np.concatenate([part for tone in tones for part in (np.zeros(1600), tone)])
        soundfile.write(folder / f"{name}.wav", wave + random.normal(0, 0.003, len(wave)), 16000)
        tables["wav.scp"].append(f"{prefix}{name} {folder}/{name}.wav\n")
        tables["utt2content"].append(f"{prefix}{name} {name}\n")
    for name, lines in tables.items():
        (folder / name).write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """anna, whose units are the reference; ben says the same, higher, under other ids, and one thing more."""
    folder, random = tmp_path_factory.mktemp("voices"), np.random.default_rng(0)
    contents = {f"m{number:02}": random.integers(0, NOTES, 4).tolist() for number in range(12)}
    voice(folder / "anna", 300, contents=contents)
    voice(folder / "ben", 450, contents={**contents, "more": [0]}, prefix="b-")
    card = {"rate_hz": 50.0, "outputs": [{"format": "text", "merged": False}],
            "model": {"num_units": 5, "rate_hz": 50.0, "unit_model": REFERENCE, "name": "anna's"}}  # fmt: skip
    (folder / "units").mkdir()
    (folder / "units" / "units.json").write_text(json.dumps(card))
    lines = [f"{name} " + " ".join("4 4 4 4 4 " + " ".join([str(note)] * 10) for note in notes) + "\n"
             for name, notes in contents.items()]  # fmt: skip
    (folder / "units" / "units").write_text("".join(lines))
    return folder


def train(data: Path, run: Path, **others: Any) -> int:
    values: dict[str, Any] = {
        "run": run, "threads": 1, "data.train": data / "ben", "data.valid": data / "ben", "data.units": data / "units",
        "data.contents": "utt2content", "data.batching.seconds": 8.0, "data.batching.crop_s": 3.0,
        "training.updates": 4, "training.log_every": 2, "training.valid_every": 2, "training.save_every": 2,
        "training.workers": 0, "optimizer.lr": 1e-2, "encoder.family": "tdnn",
        "settings.masking.channels.share": 0.0, "settings.masking.time.share": 0.0,
    }  # fmt: skip
    values |= {f"encoder.{name}": value for name, value in TINY["tdnn"][0].items()}
    values |= {name.replace("__", "."): value for name, value in others.items()}
    return main([f"{name}={_toml(value)}" for name, value in values.items() if value is not None])


def test_another_voice_gets_the_merged_units_of_the_reference(data: Path, tmp_path: Path) -> None:
    assert train(data, tmp_path / "run", training__updates=100, training__valid_every=50) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (tmp_path / "run" / "left_out.tsv").read_text() == "".join(
        f"{kind}\tb-more\tno units of what it says\n" for kind in ("train", "valid"))  # fmt: skip
    model = UnitNormalizer.load(tmp_path / "run" / "normalizer")
    edits = units = 0
    for line in (data / "units" / "units").read_text().splitlines():
        name, *wanted = line.split()
        merged = np.array([unit for unit, _ in groupby(map(int, wanted))])
        edits += edit_distance(merged, model(data / "ben" / f"{name}.wav").ids)
        units += len(merged)
    assert edits / units < 0.1
    assert result["best_token_error_rate"] == pytest.approx(edits / units, abs=0.02), "the validation says the same"
    assert model.hash == REFERENCE and model.recognizer.card.training["recipe"] == "recipes.unit_normalizer"


@pytest.mark.parametrize(("others", "message"), [
    ({"data__contents": "utt2lang"}, "has no utt2lang"), ({"data__contents": None}, "no units of what it says"),
    ({"data__units": "units/units"}, "not a finished output"), ({"settings__blank": 3}, "leave it out"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(
    data: Path, tmp_path: Path, others: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {name: data / value if name == "data__units" else value for name, value in others.items()}
    assert train(data, tmp_path / "run", **values) == 2
    assert message in capsys.readouterr().err


def test_validation_has_units_of_the_same_model(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    words = ["units", str(data / "anna"), "-o", str(tmp_path / "other"), "--quiet", "--workers", "0"]
    assert speechssl(words) == 0
    assert train(data, tmp_path / "run", data__valid_units=tmp_path / "other") == 2
    assert "would be other sounds" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["unit_normalizer", "tiny_unit_normalizer"])
def test_a_config_builds_its_model_and_stores_whole(name: str, tmp_path: Path) -> None:
    tiny = name.startswith("tiny")
    run = config.load(Run, CONF / f"{name}.toml", [] if tiny else ['encoder={family="hubert", preset="base"}'])
    with torch.device("cpu" if tiny else "meta"):
        encoder, _ = make_encoder(run.encoder, normalize=run.normalize, seed=0, purpose="CTC")
    with torch.device("meta"):
        objective = ctc.build(run, encoder, vocabulary_of(1000))
    assert objective.head.output.out_features == 1001 and objective.config.blank == 1000
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load(Run, tmp_path / "config.toml") == run


def test_the_schedule_is_the_released_ones_up_to_its_end() -> None:
    """fairseq's tri_stage of 8000 + 72000 updates from 0.01 up to 1 and down to 0.05, left at 25000."""
    run = config.load(Run, CONF / "unit_normalizer.toml", ['encoder={family="hubert", preset="base"}'])
    factors = [run.schedule.factor(update, run.training.updates) for update in (0, 3999, 8000, 16000, 25000)]
    released = [0.01 + 0.99 / 8000, 0.01 + 0.99 / 2, 1.0, 0.05 ** (8000 / 72000), 0.05 ** (17000 / 72000)]
    np.testing.assert_allclose(factors, released, rtol=2e-3)
