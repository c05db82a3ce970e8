"""F0: tones whose pitch is known, normalisation by hand, folders, and a vocoder that is told it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes.vocoder import scalar_codebook
from speechssl.cli import main
from speechssl.data import pitch_files
from speechssl.data.pitch import Settings, Statistics, normalized, shifted, statistics, track
from speechssl.errors import ConfigError, DataError
from speechssl.vocoders.unit_vocoder import Config, UnitVocoder

GENERATOR = {"kind": "wave", "channels": 32, "strides": [5, 4, 4, 4], "kernels": [3], "dilations": [1]}


def tone(hz: float, seconds: float) -> np.ndarray:
    time = np.arange(round(16000 * seconds)) / 16000
    return 0.3 * sum(np.sin(2 * np.pi * hz * k * time) / k for k in (1, 2, 3))


def test_a_tone_has_its_pitch_at_its_time_and_silence_has_none() -> None:
    pytest.importorskip("librosa")
    wave = np.concatenate([np.zeros(8000), tone(150, 0.5), tone(300, 0.5)])
    f0 = track(wave, 16000, Settings())
    assert len(f0) == 75 and not f0[:23].any()
    np.testing.assert_allclose(f0[28:47], 150, rtol=0.01)
    np.testing.assert_allclose(f0[53:72], 300, rtol=0.01)
    assert [len(track(np.zeros(n), 16000, Settings())) for n in (0, 1, 320, 321)] == [0, 1, 1, 2]
    with pytest.raises(ConfigError, match="do not divide"):
        track(wave, 16000, Settings(rate_hz=49.9))


def test_normalised_pitch_is_log_f0_in_deviations_and_semitones_move_it() -> None:
    f0 = np.array([100.0, 0.0, 400.0])
    of = statistics([f0[:1], f0[1:]])
    assert of == Statistics(pytest.approx(math.log(200)), pytest.approx(math.log(2)), 2)
    np.testing.assert_allclose(normalized(f0, of), [[-1, 1], [0, 0], [1, 1]], atol=1e-6)
    np.testing.assert_allclose(shifted(normalized(f0, of), 12, of), [[0, 1], [0, 0], [2, 1]], atol=1e-6)
    with pytest.raises(DataError, match="voiced"):
        statistics([np.zeros(3)])


def test_bins_are_the_nearest_centres_and_unvoiced_is_bin_0() -> None:
    centres = scalar_codebook(np.array([-1.0, -1.2, 0.1, 0.0, 2.0, 2.0]), 3)
    np.testing.assert_allclose(centres, [-1.1, 0.05, 2.0])
    config = Config(num_units=3, dim=4, pitch_bins=4, pitch_centres=tuple(centres), generator=GENERATOR)
    pitch = torch.tensor([[-5.0, 1.0], [0.2, 1.0], [0.2, 0.0], [9.0, 1.0]])
    assert UnitVocoder(config).pitch_input(pitch).tolist() == [1, 2, 0, 3]
    with pytest.raises(DataError, match="too few"):
        scalar_codebook(np.array([1.0, 1.0]), 2)
    with pytest.raises(ConfigError, match="rising"):
        Config(num_units=3, pitch_bins=3, pitch_centres=(1.0, 0.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two speakers, one broken, as a data dir, and their pitch."""
    pytest.importorskip("librosa")
    root = tmp_path_factory.mktemp("pitch")
    for name, hz in (("a1", 100), ("a2", 200), ("b1", 300)):
        soundfile.write(root / f"{name}.wav", np.concatenate([tone(hz, 0.5), np.zeros(1000)]), 16000)
    (root / "bad.wav").write_bytes(b"RIFF")
    (root / "data").mkdir()
    names = ("a1", "a2", "b1", "bad")
    (root / "data" / "wav.scp").write_text("".join(f"{name} {root / name}.wav\n" for name in names))
    (root / "data" / "utt2spk").write_text("".join(f"{name} {name[0]}\n" for name in names))
    assert main(["pitch", str(root / "data"), "-o", str(root / "out")]) == 1
    return root


def test_a_folder_holds_every_track_and_its_speakers_statistics(folder: Path) -> None:
    found = pitch_files.read(folder / "out")
    assert found.card.ids == ("a1", "a2", "b1") and found.card.frames == (29, 29, 29)
    assert sorted(found.card.speakers) == ["a", "b"]
    middle = (math.log(100) + math.log(200)) / 2
    assert found.card.speakers["a"].mean == pytest.approx(middle, abs=0.02)
    np.testing.assert_allclose(found.f0("a2")[3:22], 200, rtol=0.01)
    np.testing.assert_allclose(found.normalized("a1")[3:22], [[-1, 1]] * 19, atol=0.1)
    assert "bad\ttruncated" in (folder / "out" / "failures.tsv").read_text()
    frames = pitch_files.FramePitch.read(folder / "out", ["b1", "stranger", "a1"], 50.0)
    assert frames.counts.tolist() == [29, 0, 29]
    np.testing.assert_array_equal(frames.of(2), found.normalized("a1"))


def test_processes_change_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pitch", str(folder / "data"), "-o", str(tmp_path / "here"), "--workers", "0"]) == 1
    for file in ("pitch.json", "pitch.npy", "failures.tsv"):
        assert (tmp_path / "here" / file).read_bytes() == (folder / "out" / file).read_bytes()
    assert main(["pitch", str(folder / "data"), "-o", str(tmp_path / "none"), "--workers", "-1"]) == 2
    assert "--workers -1: 0 or more" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_what_is_no_pitch_folder_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pitch", str(folder / "data"), "-o", str(folder / "out")]) == 2
    assert "another folder" in capsys.readouterr().err
    with pytest.raises(DataError, match="50 a second"):
        pitch_files.FramePitch.read(_changed(folder, tmp_path / "rate", rate=40.0), ["a1"], 50.0)
    with pytest.raises(DataError, match="none of the 1"):
        pitch_files.FramePitch.read(folder / "out", ["stranger"], 50.0)
    with pytest.raises(DataError, match="describe"):
        pitch_files.read(_changed(folder, tmp_path / "frames", frames=[1, 2, 3]))
    with pytest.raises(DataError, match="not an output"):
        pitch_files.read(tmp_path)


def _changed(folder: Path, to: Path, *, rate: float = 50.0, frames: list[int] | None = None) -> Path:
    card = json.loads((folder / "out" / "pitch.json").read_text())
    card["settings"]["rate_hz"], card["frames"] = rate, frames or card["frames"]
    to.mkdir()
    (to / "pitch.json").write_text(json.dumps(card))
    (to / "pitch.npy").write_bytes((folder / "out" / "pitch.npy").read_bytes())
    return to
