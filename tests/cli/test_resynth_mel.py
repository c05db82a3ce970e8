"""speechssl resynth with a mel decoder in place of a vocoder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.cli import main
from speechssl.nn.fast import wave
from speechssl.nn.mel_definition import MelDefinition
from speechssl.units import mel_decoder as folders
from speechssl.units import mel_vocoder as vocoders
from speechssl.units.mel_voice import MelVoice
from speechssl.units.model import UnitModel
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.mel_decoder import Config, MelDecoder, Sampling
from speechssl.vocoders.mel_vocoder import Config as VocoderConfig
from speechssl.vocoders.mel_vocoder import MelVocoder

pytest.importorskip("librosa")
GENERATOR = {"kind": "wave", "channels": 16, "strides": [20, 8], "kernels": [3], "dilations": [1], "last_kernel": 0,
             "activation": "leaky_relu"}  # fmt: skip
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
    spoken = MelDefinition(num_mels=20)
    vocoders.save(folder / "vocoder", MelVocoder(VocoderConfig(spoken, generator=GENERATOR)), name="own")
    vocoders.save(folder / "others", MelVocoder(VocoderConfig(replace(spoken, floor=1e-5), generator=GENERATOR)))
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
        ("flow", ("--precision", "bf16"), "without --mel-vocoder"),
        (
            "flow",
            ("--mel-vocoder", "others"),
            "'mel vocoder' speaks other mels than mel decoder 'mel decoder' makes: floor",
        ),
        ("flow", ("--mel-vocoder", "nothing"), "no mel vocoder there"),
    ],
)
def test_what_it_cannot_do_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], decoder: str, options: tuple[str, ...], message: str
) -> None:
    if options[:1] == ("--mel-vocoder",):
        options = ("--mel-vocoder", str(work / options[1]))
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


def spoken(out: Path) -> np.ndarray:
    return soundfile.read((out / "wav.scp").read_text().split(" ", 1)[1].strip())[0]


def test_a_vocoder_of_the_same_mels_speaks_in_place_of_griffin_lim(work: Path, tmp_path: Path) -> None:
    vocoder, units = vocoders.load(work / "vocoder"), UnitModel.load("default")(work / "in" / "a.wav")
    assert run(work, tmp_path / "out", "flow", "--steps", "2", "--mel-vocoder", str(work / "vocoder")) == 0
    expected = vocoder(folders.load(work / "flow")(units, sampling=Sampling(steps=2)))
    np.testing.assert_allclose(spoken(tmp_path / "out"), expected.numpy(), atol=2 / 32768)
    if wave.available(torch.bfloat16):
        told = ("--mel-vocoder", str(work / "vocoder"), "--precision", "bf16")
        assert run(work, tmp_path / "out", "flow", "--steps", "2", *told) == 2  # the folder holds others
        assert run(work, tmp_path / "bf16", "flow", "--steps", "2", *told) == 0
        error = np.abs(spoken(tmp_path / "bf16") - expected.numpy()).max()
        assert 0 < error < 0.05 * np.abs(expected.numpy()).max()


def test_by_itself_it_copies_recordings(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = ["resynth", str(work / "in"), "--mel-vocoder", str(work / "vocoder"), "--quiet", "-o"]
    assert main([*copy, str(tmp_path / "out")]) == 0
    samples = soundfile.read(work / "in" / "a.wav", dtype="float32")[0]
    mels = MelDefinition(num_mels=20).log_mels(torch.from_numpy(samples)[None], torch.tensor([4000]), 25)[0]
    expected = vocoders.load(work / "vocoder")(mels).numpy()
    assert len(expected) == 4000
    np.testing.assert_allclose(spoken(tmp_path / "out"), expected, atol=2 / 32768)
    assert main([*copy, str(tmp_path / "slow"), "--speed", "0.5"]) == 0 and len(spoken(tmp_path / "slow")) == 8000
    for options, message in (
        (("--units", "default"), "--units has no effect on copy synthesis"),
        (("--seed", "1"), "--seed has no effect on copy synthesis"),
        (("--speaker", "anna"), "leaves every voice"),
        (("--durations", "predicted"), "have no runs"),
        (("--f0", "2"), "f0 cannot be moved"),
    ):
        assert main([*copy, str(tmp_path / "no"), *options]) == 2
        assert message in capsys.readouterr().err
    voice = ["convert-voice", str(work / "in"), "--to", "anna", "--mel-vocoder", str(work / "vocoder"), "-o", "x"]
    assert main(voice) == 2
    assert "give --mel-decoder, too" in capsys.readouterr().err
