"""speechssl resynth with a mel decoder in place of a vocoder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.cli import main
from speechssl.units import mel_decoder as folders
from speechssl.units.mel_voice import MelVoice
from speechssl.units.model import UnitModel
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.mel_decoder import Config, MelDecoder, Sampling

pytest.importorskip("librosa")
SMALL = Config(kind="flow", num_units=100, num_mels=20, dim=8, ffn_dim=8, num_layers=1, num_heads=2, guided=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, and untrained mel decoders of the built-in units, of others, and by regression."""
    folder = tmp_path_factory.mktemp("resynth_mel")
    (folder / "in").mkdir()
    soundfile.write(folder / "in" / "a.wav", np.random.default_rng(0).normal(0, 0.1, 4000), 16000)
    units = SpokenUnits(100, 50.0, UnitModel.load("default").hash, "built in")
    torch.manual_seed(0)
    folders.save(folder / "flow", MelDecoder(SMALL), units)
    folders.save(folder / "stranger", MelDecoder(SMALL), replace(units, sha256="f" * 64))
    folders.save(folder / "regression", MelDecoder(replace(SMALL, kind="regression", guided=False)), units)
    features, layer = replace(SMALL, num_units=0, inputs=256), UnitModel.load("default").layer
    folders.save(folder / "features", MelDecoder(features), units, layer=layer)
    folders.save(folder / "soft", MelDecoder(replace(features, inputs=4)), units, layer=layer, soft=True)
    return folder


def run(work: Path, out: Path, decoder: str, *options: str) -> int:
    return main(["resynth", str(work / "in"), "--mel-decoder", str(work / decoder), "-o", str(out), "--quiet",
                 *options])  # fmt: skip


def test_units_are_spoken_by_mel_and_griffin_lim_with_the_sampling_that_is_asked_for(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(work, tmp_path / "out", "flow", "--steps", "2", "--guidance", "0.5", "--seed", "3") == 0
    wav = soundfile.read((tmp_path / "out" / "wav.scp").read_text().split(" ", 1)[1].strip())[0]
    units = UnitModel.load("default")(work / "in" / "a.wav")
    voice = MelVoice(folders.load(work / "flow"), Sampling(steps=2, guidance=0.5, seed=3))
    assert len(wav) == 320 * units.num_frames
    np.testing.assert_allclose(wav, voice(units).numpy(), atol=2 / 32768)
    assert run(work, tmp_path / "out", "flow", "--steps", "3") == 2  # the folder holds others
    assert "resynth" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("decoder", "options", "message"),
    [
        ("stranger", (), "other sounds"),
        ("regression", ("--steps", "4"), "no effect on a regression"),
        ("flow", ("--durations", "predicted"), "no durations"),
        ("flow", ("--f0", "2"), "takes no pitch"),
        ("features", ("--durations", "predicted"), "features of speech have no runs"),
        ("soft", (), "not soft"),
        ("flow", ("--steps", "0"), "steps >= 1"),
    ],
)
def test_what_it_cannot_do_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], decoder: str, options: tuple[str, ...], message: str
) -> None:
    assert run(work, tmp_path / "out", decoder, *options) == 2
    assert message in capsys.readouterr().err


def test_a_decoder_of_features_speaks_those_of_recordings_and_no_units(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(work, tmp_path / "out", "features", "--steps", "2", "--speed", "0.5") == 0
    wav = soundfile.read((tmp_path / "out" / "wav.scp").read_text().split(" ", 1)[1].strip())[0]
    model, voice = UnitModel.load("default"), MelVoice(folders.load(work / "features"), Sampling(steps=2))
    samples = soundfile.read(work / "in" / "a.wav", dtype="float32")[0]
    features = model.pretrained.features_long(torch.from_numpy(samples), model.layer)
    assert torch.equal(voice.hear(model, samples), features)
    slower = features.repeat_interleave(2, dim=0)
    np.testing.assert_allclose(wav, voice(slower).numpy(), atol=2 / 32768)
    assert main(["units", str(work / "in"), "-o", str(tmp_path / "units"), "--workers", "0", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["resynth", str(tmp_path / "units"), "--mel-decoder", str(work / "features"), "-o",
                 str(tmp_path / "no"), "--quiet"]) == 2  # fmt: skip
    assert "give the recordings" in capsys.readouterr().err
