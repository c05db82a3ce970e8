"""Mel converters: lengths, styles, folders, whom they speak as, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import speechssl
from speechssl.cli import main
from speechssl.errors import AudioError, CheckpointError, ConfigError, DataError
from speechssl.units import mel_converter as folders
from speechssl.units import mel_vocoder as vocoders
from speechssl.vocoders import griffin_lim
from speechssl.vocoders.mel_converter import Config, MelConverter, to_image
from speechssl.vocoders.mel_reader import MIDDLE_HZ, MelReader
from speechssl.vocoders.mel_reader import Config as ReaderConfig
from speechssl.vocoders.mel_vocoder import Config as VocoderConfig
from speechssl.vocoders.mel_vocoder import MelVocoder
from tests.encoders.parity import randomize

READER = ReaderConfig(dim=6, dilations=(1, 2), kernel=3, num_mels=16)
SMALL = Config(speakers=("anna", "bea bo"), channels=4, most_channels=8, halvings=((2, 2), (2, 1)), depth=2,
               bottleneck=1, style=5, latent=3, hidden=7, pitch_channels=2, fold=2, reader=READER)  # fmt: skip


def make(config: Config = SMALL) -> MelConverter:
    torch.manual_seed(0)
    made = MelConverter(config)
    randomize(made)
    made.reader.mean.fill_(-3.0)
    made.reader.scale.fill_(2.0)
    return made.eval()


def mels(frames: int, *batch: int, seed: int = 0) -> Tensor:
    return torch.randn(*batch, frames, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frames", [1, 3, 4, 5, 18, 31])
@pytest.mark.parametrize("fold", [1, 2])
def test_as_many_frames_come_out_as_go_in(frames: int, fold: int) -> None:
    model = make(replace(SMALL, fold=fold))
    style = model.mapping(torch.randn(2, 3), torch.tensor([0, 1]))
    assert model(mels(frames, 2), style).shape == (2, frames, 16)
    assert model.style(mels(frames, 2), torch.tensor([0, 1])).shape == (2, 5)


def test_an_utterance_is_padded_with_its_own_last_frame_and_neighbours_do_not_matter() -> None:
    model, mel, style = make(), mels(9, 1), torch.randn(1, 5)
    wider = torch.cat([mel, mel[:, -1:].expand(-1, 3, -1)], 1)
    pitch = model.reader.hear_pitch(model.log_mels(mel))
    told = torch.cat([pitch, pitch[:, -1:].expand(-1, 3, -1)], 1)
    narrow, wide = model(mel, style, pitch), model(wider, style, told)
    torch.testing.assert_close(narrow, wide[:, :9], atol=1e-5, rtol=1e-5)
    both = model(torch.cat([mels(9, 1, seed=3), mel]), torch.cat([style + 1, style]))
    torch.testing.assert_close(both[1:], narrow, atol=1e-5, rtol=1e-5)


def test_folding_makes_neighbours_channels_and_can_be_undone() -> None:
    mel = mels(5, 2)
    image = to_image(mel, 4, 8)
    assert image.shape == (2, 16, 4, 2)
    back = torch.nn.functional.pixel_shuffle(image, 4)[:, 0].transpose(1, 2)
    assert torch.equal(back[:, :5], mel) and torch.equal(back[:, 7], mel[:, 4])


def test_the_speaker_changes_the_style_and_the_style_the_mel() -> None:
    model, latent, mel = make(), torch.randn(1, 3).expand(2, -1), mels(12, 1).expand(2, -1, -1)
    for styles in (model.mapping(latent, torch.tensor([0, 1])), model.style(mel, torch.tensor([0, 1]))):
        assert float((styles[0] - styles[1]).detach().abs().max()) > 1e-3
        made = model(mel, styles)
        assert float((made[0] - made[1]).abs().max()) > 1e-3


def test_f0_of_the_reader_is_in_hertz_and_has_a_gradient_to_the_mel() -> None:
    reader = MelReader(READER)
    with torch.no_grad():
        reader.f0.weight.zero_()
        reader.f0.bias.copy_(torch.tensor([np.log(2.0), 20.0]))
    mel = mels(4, 1)
    assert reader.hertz(reader.hear_pitch(mel)).tolist() == [pytest.approx([2 * MIDDLE_HZ] * 4)]
    randomize(reader)
    mel.requires_grad_()
    reader.hertz(reader.hear_pitch(mel)).sum().backward()
    assert mel.grad is not None and bool((mel.grad.abs().sum(2) > 0).all())
    with pytest.raises(ConfigError, match="hears no units"):
        reader.hear_content(mel)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("converter"), np.random.default_rng(0)
    (folder / "in").mkdir()
    soundfile.write(folder / "in" / "a.wav", random.normal(0, 0.1, 5000), 16000)
    soundfile.write(folder / "in" / "short.wav", random.normal(0, 0.1, 100), 16000)
    (folder / "told").mkdir()
    (folder / "told" / "wav.scp").write_text(f"a {folder / 'in' / 'a.wav'}\n")
    (folder / "told" / "utt2spk").write_text("a anna\n")
    folders.save(folder / "model", make(), name="x", training={"updates": 3})
    return folder


def test_a_folder_gives_the_same_converter_and_damage_is_found(work: Path, tmp_path: Path) -> None:
    own, found = make(), folders.load(work / "model")
    mel = mels(7)
    assert torch.equal(own.convert(mel, own.voices[1]), found.module.convert(mel, own.voices[1]))
    assert found.card.training == {"updates": 3} and folders.is_one(work / "model")
    shutil.copytree(work / "model", tmp_path / "m")
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    (tmp_path / "m" / "card.json").write_text(json.dumps(card | {"sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="do not match"):
        folders.load(tmp_path / "m")
    (tmp_path / "m" / "card.json").write_text(json.dumps(card | {"format": "other"}))
    with pytest.raises(CheckpointError, match="mel converter"):
        folders.load(tmp_path / "m")
    reader = MelReader(READER)
    folders.save_reader(tmp_path / "r", reader)
    assert torch.equal(folders.load_reader(tmp_path / "r").f0.weight, reader.f0.weight)
    with pytest.raises(CheckpointError, match=r"recipes\.mel_reader"):
        folders.load_reader(work / "model")


def test_convert_voice_speaks_as_a_name_and_skips_what_is_too_short(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("librosa")
    command = ["convert-voice", str(work / "in"), "--mel-converter", str(work / "model"), "--quiet"]
    assert main([*command, "--to", "bea bo", "-o", str(tmp_path / "b")]) == 1
    assert (tmp_path / "b" / "utt2spk").read_text() == "a bea_bo\n"
    assert "short\ttoo-short" in (tmp_path / "b" / "failures.tsv").read_text()
    made = soundfile.read((tmp_path / "b" / "wav.scp").read_text().split(" ", 1)[1].strip())[0]
    model = make()
    wav = torch.from_numpy(soundfile.read(work / "in" / "a.wav", dtype="float32")[0])[None]
    mel = model.reader.mels(wav, torch.tensor([5000]), 31)[0]
    expected = griffin_lim.waveform(model.convert(mel, model.voices[1]).numpy(), READER.mel_definition)
    np.testing.assert_allclose(made, expected, atol=2 / 32768)
    again = speechssl.load_voice_converter(work / "model")(work / "in" / "a.wav", to="bea bo")
    np.testing.assert_allclose(made, again, atol=2 / 32768)
    assert main([*command, "--to", "anna", "-o", str(tmp_path / "b")]) == 2  # the folder holds another target


def test_a_recording_is_of_its_own_speaker_or_of_the_one_it_is_most_like(work: Path) -> None:
    voice = folders.load(work / "model")
    model, mel = voice.module, voice.mel_of(soundfile.read(work / "in" / "a.wav", dtype="float32")[0])
    style = model.style(model.normalized(mel)[None], torch.tensor([0]))[0]
    assert torch.equal(voice.speak_as(work / "told").style, style)
    styles = model.style_encoder(model.normalized(mel)[None])[0]
    nearest = int((styles - model.voices).abs().mean(1).argmin())
    assert torch.equal(voice.speak_as(work / "in" / "a.wav").style, styles[nearest])


def test_a_vocoder_of_its_mels_speaks_in_place_of_griffin_lim_and_another_is_refused(
    work: Path, tmp_path: Path
) -> None:
    wave = {"kind": "wave", "channels": 16, "strides": [10, 4, 4], "up_kernels": [20, 8, 8], "kernels": [3],
            "dilations": [1], "last_kernel": 0, "activation": "leaky_relu"}  # fmt: skip
    for name, bins in (("own", 16), ("other", 20)):
        made = MelVocoder(VocoderConfig(replace(READER.mel_definition, num_mels=bins), generator=wave))
        randomize(made)
        made.scale.abs_()
        vocoders.save(tmp_path / name, made.eval())
    behind = vocoders.load(tmp_path / "own")
    model, mel = make(), folders.load(work / "model").mel_of(soundfile.read(work / "in" / "a.wav", dtype="float32")[0])
    expected = behind(model.convert(mel, model.voices[0]))
    command = ["convert-voice", str(work / "in"), "--to", "anna", "--mel-converter", str(work / "model"), "--quiet"]
    assert main([*command, "--mel-vocoder", str(tmp_path / "own"), "-o", str(tmp_path / "a")]) == 1
    spoken = soundfile.read((tmp_path / "a" / "wav.scp").read_text().split(" ", 1)[1].strip())[0]
    np.testing.assert_allclose(spoken, expected.clip(-1, 1), atol=2 / 32768)
    with pytest.raises(DataError, match=r"mel converter 'x'.*num_mels"):
        speechssl.load_voice_converter(work / "model", mel_vocoder=tmp_path / "other")


def test_what_it_cannot_do_is_refused(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voice = folders.load(work / "model")
    with pytest.raises(DataError, match=r"clara: neither a speaker .*anna, bea bo"):
        voice.speak_as("clara")
    with pytest.raises(AudioError, match="100 samples"):
        voice(work / "in" / "short.wav", to="anna")
    with pytest.raises(DataError, match="16 bins"):
        voice.module.convert(torch.zeros(3, 80), voice.module.voices[0])
    with pytest.raises(DataError, match="no units"):
        voice.speak_as("anna")(np.arange(3))
    with pytest.raises(ConfigError, match="two speakers"):
        MelConverter(replace(SMALL, speakers=("anna",)))
    with pytest.raises(ConfigError, match="multiple of 8"):
        replace(SMALL, reader=replace(READER, num_mels=20))
    with pytest.raises(ConfigError, match="no units and no sampling"):
        speechssl.load_voice_converter(work / "model", units=work / "in")
    command = ["convert-voice", str(work / "in"), "--mel-converter", str(work / "model"), "-o", str(tmp_path / "o")]
    for option, value in (("--units", "default"), ("--convert", "rhythm"), ("--f0", "2"), ("--seed", "1")):
        assert main([*command, "--to", "anna", option, value]) == 2
        assert f"{option} has no effect on a mel converter" in capsys.readouterr().err
