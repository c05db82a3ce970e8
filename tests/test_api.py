"""The Python API as the documentation shows it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import speechssl
from speechssl.errors import CheckpointError
from tests.units.test_model import mfcc_model


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds of a rising tone with noise, stereo at 44.1 kHz."""
    time = np.arange(88200) / 44100
    tone = 0.3 * np.sin(2 * np.pi * (200 + 400 * time) * time) + np.random.default_rng(0).normal(0, 0.01, len(time))
    soundfile.write(tmp_path / "speech.flac", np.stack([tone, tone], 1), 44100)
    return tmp_path / "speech.flac"


def test_five_lines_from_a_file_to_units(tmp_path: Path, recording: Path) -> None:
    mfcc_model().save(tmp_path / "model")

    model = speechssl.load_unit_model(tmp_path / "model")
    units = model(recording)
    merged = units.dedup()
    text = merged.text()
    bits = units.bitrate()

    assert isinstance(units, speechssl.Units)
    assert len(units) == (32000 - 400) // 320 + 1
    assert text == " ".join(str(i) for i in merged.ids) and bits > 0
    audio = speechssl.read_audio(recording)
    assert model(audio) == model(audio.samples, audio.sample_rate) == units
    assert audio.notes == ("mixed 2 channels to mono", "resampled 44100 Hz to 16000 Hz")


def test_samples_at_another_rate_give_the_units_of_the_file(tmp_path: Path, recording: Path) -> None:
    mfcc_model().save(tmp_path / "model")
    model = speechssl.load_unit_model(tmp_path / "model")
    samples = soundfile.read(recording, dtype="float32")[0].mean(1)
    assert np.mean(model(samples, 44100).ids == model(recording).ids) > 0.99


def test_features_of_an_encoder_by_name(recording: Path) -> None:
    import torch

    encoder = speechssl.load_encoder("mfcc")
    features = encoder.features(torch.from_numpy(speechssl.read_audio(recording).samples), layer=0)
    assert features.shape == (99, 39)


def test_the_built_in_model_works_offline(recording: Path) -> None:
    units = speechssl.load_unit_model()(recording)
    assert (units.rate_hz, len(units)) == (50.0, 99)


def test_an_unknown_model_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="built in"):
        speechssl.load_unit_model(tmp_path / "nothing")
