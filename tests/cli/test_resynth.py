"""speechssl resynth: recordings, or their units, spoken by a vocoder of the units' own model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechssl.cli import main
from speechssl.data import pitch_files
from speechssl.data.pitch import Settings, shifted
from speechssl.extract.resynthesis import at_speed, stretched
from speechssl.units import vocoder as folders
from speechssl.units.model import UnitModel
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.durations import Settings as DurationSettings
from speechssl.vocoders.unit_vocoder import Config, UnitVocoder

GENERATOR = {"kind": "wave", "channels": 32, "strides": [5, 4, 4, 4], "kernels": [3], "dilations": [1]}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings, one of them too short and one broken, and an untrained vocoder of the built-in units."""
    folder = tmp_path_factory.mktemp("resynth")
    (folder / "in").mkdir()
    random = np.random.default_rng(0)
    for name, samples in (("a", 8000), ("b", 12345), ("short", 300)):
        soundfile.write(folder / "in" / f"{name}.wav", random.normal(0, 0.1, samples), 16000)
    (folder / "in" / "broken.wav").write_bytes(b"RIFF")
    torch.manual_seed(0)
    module = UnitVocoder(Config(num_units=100, dim=4, generator=GENERATOR, durations=DurationSettings(hidden=4))).eval()
    units = SpokenUnits(100, 50.0, UnitModel.load("default").hash, "built in")
    folders.save(folder / "vocoder", module, units)
    folders.save(folder / "stranger", module, replace(units, sha256="f" * 64))
    return folder


def run(work: Path, out: Path, *options: str, source: str = "in", vocoder: str = "vocoder") -> int:
    return main(["resynth", str(work / source), "--vocoder", str(work / vocoder), "-o", str(out), "--quiet", *options])


def spoken(out: Path) -> dict[str, np.ndarray]:
    rows = (line.split(" ", 1) for line in (out / "wav.scp").read_text().splitlines())
    return {name: soundfile.read(path)[0] for name, path in rows}


def test_every_recording_that_can_be_used_is_spoken_and_the_others_are_named(work: Path, tmp_path: Path) -> None:
    assert run(work, tmp_path / "out") == 1
    found = spoken(tmp_path / "out")
    model, vocoder = UnitModel.load("default"), folders.load(work / "vocoder")
    assert sorted(found) == ["a", "b"]
    for name, wav in found.items():
        expected = vocoder(model(work / "in" / f"{name}.wav")).numpy()
        np.testing.assert_allclose(wav, expected, atol=2 / 32768)
    failures = [line.split("\t")[:2] for line in (tmp_path / "out" / "failures.tsv").read_text().splitlines()]
    assert failures[0] == ["id", "code"] and sorted(failures[1:]) == [["broken", "truncated"], ["short", "too-short"]]


def test_given_again_nothing_is_made_again_and_another_setting_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(work, tmp_path / "out", "--json") == 1
    assert json.loads(capsys.readouterr().out)["made"] == 2
    lost = sorted((tmp_path / "out" / "audio").iterdir())[0]
    kept = lost.read_bytes()
    lost.unlink()
    assert run(work, tmp_path / "out", "--json") == 1
    assert json.loads(capsys.readouterr().out)["made"] == 1 and lost.read_bytes() == kept
    assert run(work, tmp_path / "out", "--speed", "2") == 2
    assert "choose another folder" in capsys.readouterr().err


def test_units_of_a_folder_are_spoken_alike(work: Path, tmp_path: Path) -> None:
    assert main(["units", str(work / "in"), "-o", str(tmp_path / "units"), "--workers", "0", "--quiet"]) == 1
    run(work, tmp_path / "from_audio")
    assert run(tmp_path, tmp_path / "out", source="units", vocoder=str(work / "vocoder")) == 0
    for name, wav in spoken(tmp_path / "from_audio").items():
        np.testing.assert_array_equal(spoken(tmp_path / "out")[name], wav)
    assert run(tmp_path, tmp_path / "x", "--units", "default", source="units", vocoder=str(work / "vocoder")) == 2


def test_speed_and_predicted_durations_change_how_long_it_lasts(work: Path, tmp_path: Path) -> None:
    run(work, tmp_path / "one")
    run(work, tmp_path / "fast", "--speed", "2")
    run(work, tmp_path / "own", "--durations", "predicted")
    one, fast, own = (spoken(tmp_path / name)["b"] for name in ("one", "fast", "own"))
    frames = (12345 - 400) // 320 + 1
    assert (len(one), len(fast)) == (frames * 320, round(frames / 2) * 320)
    units = UnitModel.load("default")(work / "in" / "b.wav").dedup()
    assert len(own) == int(folders.load(work / "vocoder").predict_durations(units.ids).sum()) * 320


@given(st.integers(1, 60), st.floats(0.1, 10))
def test_at_a_speed_frames_come_in_order_from_the_first_to_the_last(frames: int, speed: float) -> None:
    found = at_speed(frames, speed)
    assert len(found) == max(1, round(frames / speed))
    assert (np.diff(found) >= 0).all() and found.min() >= 0 and found.max() < frames
    assert (at_speed(frames, 1.0) == np.arange(frames)).all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--speaker", "anna"), "one voice"),
        (("--speed", "99"), "0.1..10"),
        (("--units", "nowhere"), "no unit model"),
        (("--vocoder", "nowhere"), "no vocoder there"),
    ],
)
def test_what_cannot_be_said_is_refused_before_anything_is_written(
    options: tuple[str, ...], said: str, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(work, tmp_path / "out", *options) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_vocoder_of_other_units_is_refused(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(work, tmp_path / "out", vocoder="stranger") == 2
    assert "other sounds" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_vocoder_with_pitch_is_told_that_of_the_recordings_and_f0_moves_it(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    module = UnitVocoder(Config(num_units=100, dim=4, pitch_channels=2, generator=GENERATOR)).eval()
    units = SpokenUnits(100, 50.0, UnitModel.load("default").hash, "built in")
    folders.save(tmp_path / "vocoder", module, units)
    (tmp_path / "pitch").mkdir()
    f0 = np.linspace(100, 200, 37).astype(np.float32)
    pitch_files.write(tmp_path / "pitch", Settings(), {"a": f0, "b": f0}, {"a": "s", "b": "s"})
    vocoder, told = str(tmp_path / "vocoder"), ("--pitch", str(tmp_path / "pitch"))
    assert run(work, tmp_path / "x", vocoder=vocoder) == 2
    assert "speechssl pitch" in capsys.readouterr().err
    assert run(work, tmp_path / "x", *told) == 2 and "takes no pitch" in capsys.readouterr().err
    assert run(work, tmp_path / "one", *told, vocoder=vocoder) == 1
    assert run(work, tmp_path / "high", *told, "--f0", "5", vocoder=vocoder) == 1
    ids, stored = UnitModel.load("default")(work / "in" / "b.wav").frames(), pitch_files.read(tmp_path / "pitch")
    for name, semitones in (("one", 0), ("high", 5)):
        values = np.zeros((len(ids), 2), np.float32)
        moved = shifted(stored.normalized("b"), semitones, stored.statistics("b"))[: len(ids)]
        values[: len(moved)] = moved
        expected = folders.load(vocoder)(ids, None, torch.from_numpy(values)).numpy()
        np.testing.assert_allclose(spoken(tmp_path / name)["b"], expected, atol=2 / 32768)


def test_runs_are_stretched_in_place() -> None:
    assert stretched(np.array([2, 3, 1]), np.array([4, 1, 2])).tolist() == [0, 0, 1, 1, 3, 5, 5]
