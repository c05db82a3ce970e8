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
    folders.save(folder / "features", MelDecoder(replace(SMALL, num_units=0, inputs=256)), units)
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
        ("features", (), "cannot speak units"),
        ("flow", ("--steps", "0"), "steps >= 1"),
    ],
)
def test_what_it_cannot_do_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], decoder: str, options: tuple[str, ...], message: str
) -> None:
    assert run(work, tmp_path / "out", decoder, *options) == 2
    assert message in capsys.readouterr().err
