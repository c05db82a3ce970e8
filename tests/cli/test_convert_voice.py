"""speechssl convert-voice and load_voice_converter: names, embeddings and prompts, on untrained voices."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

import speechssl
from recipes import mel as recipe
from speechssl.cli import main
from speechssl.config import to_dict
from speechssl.data.speaker_embedding import mean_voice
from speechssl.errors import ConfigError, DataError
from speechssl.units import mel_decoder as folders
from speechssl.units import mel_vocoder as mel_vocoders
from speechssl.units import stored
from speechssl.units import vocoder as vocoders
from speechssl.units.mel_voice import MelVoice, Prompt
from speechssl.units.model import UnitModel
from speechssl.units.vocoder import SpokenUnits
from speechssl.units.voice_conversion import prompt_of, speak_as
from speechssl.vocoders import griffin_lim
from speechssl.vocoders.mel_decoder import Config, MelDecoder, Sampling
from speechssl.vocoders.mel_vocoder import Config as MelVocoderConfig
from speechssl.vocoders.mel_vocoder import MelVocoder
from speechssl.vocoders.unit_vocoder import Config as VocoderConfig
from speechssl.vocoders.unit_vocoder import UnitVocoder
from tests.encoders.parity import randomize

pytest.importorskip("librosa")
SMALL = Config(num_units=100, num_mels=20, dim=8, ffn_dim=8, num_layers=1, num_heads=2, kernel=3)
NAMES = ("anna", "bea")


class FakeEmbedder:
    """In resemblyzer's place: two numbers, how loud and how rough."""

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def embed_utterance(self, wav: np.ndarray) -> np.ndarray:
        values = np.array([abs(wav).mean(), abs(np.diff(wav)).mean()], np.float32)
        return values / np.linalg.norm(values)


@pytest.fixture
def resemblyzer(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("resemblyzer")
    package.VoiceEncoder = FakeEmbedder  # type: ignore[attr-defined]
    package.preprocess_wav = lambda wav, source_sr: wav  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "resemblyzer", package)


def decoder(config: Config) -> MelDecoder:
    torch.manual_seed(0)
    made = MelDecoder(config)
    randomize(made)
    if config.speaker_inputs and config.speakers:
        made.voices.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    return made.eval()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, and voices of the built-in units by table, embedding, prompt, of one person, and of other units."""
    folder, random = tmp_path_factory.mktemp("convert"), np.random.default_rng(0)
    for name, colour in (("in/a", 1), ("ref/x y", 1), ("ref2/z", 9)):
        (folder / name).parent.mkdir(exist_ok=True)
        noise = np.convolve(random.normal(0, 0.1, 6000), np.ones(colour) / colour, "same")
        soundfile.write(folder / f"{name}.wav", noise, 16000)
    units = SpokenUnits(100, 50.0, UnitModel.load("default").hash, "built in")
    told = replace(SMALL, speakers=NAMES, speaker_inputs=2)
    folders.save(folder / "table", decoder(replace(SMALL, speakers=NAMES)), units)
    folders.save(folder / "told", decoder(told), units, embedder="resemblyzer")
    folders.save(folder / "numbers", decoder(told), units)
    folders.save(folder / "prompted", decoder(replace(SMALL, kind="flow", prompt=True)), units)
    folders.save(folder / "one", decoder(SMALL), units)
    folders.save(folder / "stranger", decoder(replace(SMALL, speakers=NAMES)), replace(units, sha256="f" * 64))
    generator = {"kind": "wave", "channels": 32, "strides": [5, 4, 4, 4], "kernels": [3], "dilations": [1]}
    vocoder = UnitVocoder(VocoderConfig(num_units=100, dim=4, speakers=NAMES, speaker_dim=3, generator=generator))
    randomize(vocoder)
    vocoders.save(folder / "vocoder", vocoder.eval(), units)
    spectral = {"kind": "spectral", "channels": 8, "num_blocks": 1, "hop": 320, "window": 640}
    behind = MelVocoder(MelVocoderConfig(SMALL.mel_definition, 2, spectral))
    randomize(behind)
    mel_vocoders.save(folder / "mels", behind.eval())
    np.save(folder / "e.npy", np.array([0.6, 0.8], np.float32))
    np.save(folder / "three.npy", np.zeros(3, np.float32))
    np.save(folder / "nan.npy", np.array([np.nan, 0], np.float32))
    return folder


def mels(work: Path, name: str, speaker: object) -> np.ndarray:
    """What the voice says of the source, directly."""
    found = folders.load(work / name)
    return found(UnitModel.load("default")(work / "in" / "a.wav"), speaker, sampling=Sampling()).numpy()  # type: ignore[arg-type]


def convert(work: Path, out: Path, voice: str, to: object, *options: str) -> int:
    kind = "--vocoder" if voice == "vocoder" else "--mel-decoder"
    return main(["convert-voice", str(work / "in"), "--to", str(to), kind, str(work / voice), "-o", str(out), "--quiet",
                 *options])  # fmt: skip


def spoken(out: Path) -> np.ndarray:
    return soundfile.read((out / "wav.scp").read_text().split(" ", 1)[1].strip())[0]


def test_a_name_is_spoken_by_that_speaker_and_stands_in_the_data_dir(work: Path, tmp_path: Path) -> None:
    found = {}
    for name in NAMES:
        assert convert(work, tmp_path / name, "table", name) == 0
        assert (tmp_path / name / "utt2spk").read_text() == f"a {name}\n"
        found[name] = spoken(tmp_path / name)
        expected = griffin_lim.waveform(mels(work, "table", name), replace(SMALL, speakers=NAMES))
        np.testing.assert_allclose(found[name], expected, atol=2 / 32768)
    assert abs(found["anna"] - found["bea"]).max() > 0.01
    assert convert(work, tmp_path / "m", "table", "bea", "--mel-vocoder", str(work / "mels")) == 0
    expected = mel_vocoders.load(work / "mels")(mels(work, "table", "bea")).numpy()
    np.testing.assert_allclose(spoken(tmp_path / "m"), expected.clip(-1, 1), atol=2 / 32768)
    assert convert(work, tmp_path / "v", "vocoder", "bea") == 0
    units = UnitModel.load("default")(work / "in" / "a.wav")
    expected = vocoders.load(work / "vocoder")(units, "bea").numpy()
    np.testing.assert_allclose(spoken(tmp_path / "v"), expected.clip(-1, 1), atol=2 / 32768)


def test_an_embedding_speaks_whether_it_is_a_name_a_recording_or_numbers(
    work: Path, tmp_path: Path, resemblyzer: None
) -> None:
    voice, heard = MelVoice(folders.load(work / "told")), FakeEmbedder()
    wav = soundfile.read(work / "ref2" / "z.wav", dtype="float32")[0]
    embedding = torch.from_numpy(heard.embed_utterance(wav))
    assert torch.equal(speak_as(voice, work / "ref2").embedding, embedding)  # type: ignore[arg-type]
    assert convert(work, tmp_path / "z", "told", work / "ref2" / "z.wav") == 0
    expected = griffin_lim.waveform(mels(work, "told", embedding), voice.decoder.module.config)
    np.testing.assert_allclose(spoken(tmp_path / "z"), expected, atol=2 / 32768)
    assert convert(work, tmp_path / "z", "told", work / "ref") == 2  # the folder holds another target
    np.testing.assert_array_equal(mels(work, "told", "bea"), mels(work, "told", torch.tensor([0.0, 1.0])))
    assert abs(mels(work, "told", "bea") - mels(work, "told", "anna")).max() > 0.01
    assert convert(work, tmp_path / "e", "numbers", work / "e.npy") == 0
    assert (tmp_path / "e" / "utt2spk").read_text() == "a e\n"
    two = speak_as(voice, work / "ref").name
    assert two == "ref" and speak_as(voice, work / "ref" / "x y.wav").name == "x_y"


def test_a_prompt_is_gone_on_from_and_cut_off_again(work: Path, tmp_path: Path) -> None:
    model, trained = UnitModel.load("default"), folders.load(work / "prompted")
    voice = MelVoice(trained, Sampling(steps=2))
    prompt, units = prompt_of(voice, work / "ref2", model), model(work / "in" / "a.wav")
    wav = soundfile.read(work / "ref2" / "z.wav", dtype="float32")[0]
    assert np.array_equal(prompt.content.numpy(), model(wav, 16000).frames()) and len(prompt.mel) == 2 * len(
        prompt.content
    )
    whole = np.concatenate([prompt.content.numpy(), units.frames()])
    expected = trained(whole, sampling=Sampling(steps=2), prompt=prompt.mel)[len(prompt.mel) :]
    assert convert(work, tmp_path / "p", "prompted", work / "ref2", "--steps", "2") == 0
    made = griffin_lim.waveform(expected.numpy(), trained.module.config)
    np.testing.assert_allclose(spoken(tmp_path / "p"), made, atol=2 / 32768)
    other = Prompt(prompt.content, prompt.mel + 1)
    assert replace(voice, prompt=other).identity != replace(voice, prompt=prompt).identity != voice.identity


def test_the_converter_of_the_library_is_the_command(work: Path) -> None:
    converter = speechssl.load_voice_converter(work / "prompted", sampling=Sampling(steps=2))
    voice = speak_as(MelVoice(folders.load(work / "prompted"), Sampling(steps=2)), work / "ref")
    units = UnitModel.load("default")(work / "in" / "a.wav")
    assert torch.equal(converter(work / "in" / "a.wav", to=work / "ref"), voice(units))
    assert isinstance(speechssl.load_voice_converter(work / "vocoder").voice, vocoders.Vocoder)
    behind = speechssl.load_voice_converter(work / "table", mel_vocoder=work / "mels")
    assert torch.equal(
        behind(work / "in" / "a.wav", to="bea"), mel_vocoders.load(work / "mels")(mels(work, "table", "bea"))
    )
    with pytest.raises(
        DataError, match=r"units of unit model .*, but this mel decoder speaks .*unit model ffffffffffff"
    ):
        speechssl.load_voice_converter(work / "stranger")
    with pytest.raises(ConfigError, match="no effect"):
        speechssl.load_voice_converter(work / "vocoder", sampling=Sampling())
    with pytest.raises(ConfigError, match="mel_vocoder has no effect"):
        speechssl.load_voice_converter(work / "vocoder", mel_vocoder=work / "mels")


@pytest.mark.parametrize(
    ("voice", "to", "message"),
    [
        ("stranger", "anna", "other sounds"),
        ("table", "carla", "not a speaker of this voice"),
        ("vocoder", "carla", "it knows anna, bea"),
        ("one", "anna", "can be nobody else"),
        ("one", "e.npy", "takes no speaker embeddings"),
        ("told", "three.npy", "2 numbers, not 3"),
        ("told", "nan.npy", "finite"),
        ("told", "nowhere.npy", "nowhere"),
        ("told", "ref2", "pip install resemblyzer"),
        ("numbers", "ref2", "nobody knows whose"),
        ("prompted", "nowhere", "nowhere"),
        ("prompted", "", "an empty name"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, voice: str,
    to: str, message: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    reference = to if to in ("anna", "carla", "") else work / to
    assert convert(work, tmp_path / "out", voice, reference) == 2
    assert message in capsys.readouterr().err


def test_a_voice_is_the_mean_direction_of_its_recordings() -> None:
    found = mean_voice([np.array([1, 0], np.float32), np.array([0, 1], np.float32)])
    np.testing.assert_allclose(found, np.sqrt([0.5, 0.5]), rtol=1e-6)
    with pytest.raises(DataError, match="mean direction"):
        mean_voice([np.array([1.0, 0.0]), np.array([-1.0, 0.0])])


def test_the_recipe_keeps_the_speakers_embeddings_and_says_whose_they_are(
    tmp_path: Path, resemblyzer: None, capsys: pytest.CaptureFixture[str]
) -> None:
    random, scale = np.random.default_rng(0), {"anna": 1, "bea": 9}
    rows = []
    for number, name in enumerate(("bea", "anna", "bea")):
        noise = np.convolve(random.normal(0, 0.1, 9000), np.ones(scale[name]) / scale[name], "same")
        soundfile.write(tmp_path / f"u{number}.wav", noise, 16000)
        rows.append((f"u{number}", name))
    data = tmp_path / "data"
    data.mkdir()
    (data / "wav.scp").write_text("".join(f"{name} {tmp_path / name}.wav\n" for name, _ in rows))
    (data / "utt2spk").write_text("".join(f"{name} {speaker}\n" for name, speaker in rows))
    conf = Path(recipe.__file__).parent / "conf" / "mel_regression.toml"
    command = [str(conf), f"data.train={data}", "data.speakers=true", "training.updates=1", "training.workers=0",
               "settings.decoder.dim=8", "settings.decoder.ffn_dim=8", "settings.decoder.num_layers=1",
               "settings.decoder.num_heads=2", "data.batching.seconds=1.0", "data.batching.crop_s=0.5"]  # fmt: skip
    assert recipe.main([*command, f"run={tmp_path / 'run'}", "data.embeddings=resemblyzer"]) == 0
    trained = folders.load(tmp_path / "run" / "mel_decoder")
    heard = [
        FakeEmbedder().embed_utterance(soundfile.read(tmp_path / f"u{n}.wav", dtype="float32")[0]) for n in range(3)
    ]
    assert trained.card.embedder == "resemblyzer" and trained.card.config.speakers == NAMES
    expected = np.stack([heard[1], mean_voice([heard[0], heard[2]])])
    np.testing.assert_allclose(trained.module.voices.numpy(), expected, atol=1e-6)
    for name, row in zip(NAMES, expected, strict=True):
        np.save(tmp_path / f"{name}.npy", row)
    assert recipe.main([*command, f"run={tmp_path / 'files'}", f"data.embeddings={tmp_path}"]) == 0
    trained = folders.load(tmp_path / "files" / "mel_decoder")
    assert trained.card.embedder == "" and np.array_equal(trained.module.voices.numpy(), expected)
    wrong = [*command, f"run={tmp_path / 'wrong'}", "data.embeddings=resemblyzer", "data.speakers=false"]
    assert recipe.main(wrong) == 2 and "no effect without data.speakers" in capsys.readouterr().err


def test_a_decoder_without_the_new_setting_keeps_its_hash(work: Path) -> None:
    card = json.loads((work / "one" / "card.json").read_text())
    for later in ("speaker_inputs", "prosody", "says"):
        del card["config"][later]
    del card["embedder"]  # as it was written before
    older = work / "older"
    older.mkdir()
    (older / "model.safetensors").write_bytes((work / "one" / "model.safetensors").read_bytes())
    (older / "card.json").write_text(json.dumps(card))
    assert folders.load(older).card.sha256 == card["sha256"]
    values = {k: v for k, v in to_dict(SMALL).items() if k not in ("speaker_inputs", "prosody", "says")}
    assert stored.digest([folders.FORMAT, values], folders.load(older).module) == card["sha256"]
