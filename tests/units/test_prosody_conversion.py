"""Rhythm, pitch and speaker of recordings converted each on its own, by untrained decoders with prosody."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import speechssl
from speechssl.cli import main
from speechssl.data import pitch_files
from speechssl.data.pitch import Settings as PitchSettings
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError, CheckpointError, ConfigError, DataError
from speechssl.units import mel_decoder as folders
from speechssl.units import prosody_conversion as conversion
from speechssl.units.mel_voice import MelVoice
from speechssl.units.model import UnitModel
from speechssl.units.prosody_conversion import PARTS, Plan, ProsodyTarget, Reference
from speechssl.units.units import Units
from speechssl.units.vocoder import SpokenUnits
from speechssl.units.voice_conversion import convert_as
from speechssl.vocoders.mel_decoder import Config, MelDecoder
from speechssl.vocoders.prosody import SEMITONES, Settings
from tests.encoders.parity import randomize

pytest.importorskip("librosa")
PROSODY = Settings(embedding=3)
SMALL = Config(num_units=100, num_mels=20, dim=8, ffn_dim=8, num_layers=1, num_heads=2, kernel=3, prosody=PROSODY)
TOLD = replace(SMALL, prosody=Settings(embedding=3, speaker=False))
SOURCE = Utterance("a", "")


def decoder(config: Config) -> MelDecoder:
    torch.manual_seed(0)
    made = MelDecoder(config)
    randomize(made)
    if config.speaker_inputs:
        made.voices.copy_(torch.eye(len(config.speakers), config.speaker_inputs))
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording with its F0; decoders of the built-in units with a speaker encoder, with names, without prosody."""
    folder, random = tmp_path_factory.mktemp("prosody"), np.random.default_rng(0)
    for name, colour in (("in/a", 1), ("ref/x y", 9)):
        (folder / name).parent.mkdir(exist_ok=True)
        noise = np.convolve(random.normal(0, 0.1, 6000), np.ones(colour) / colour, "same")
        soundfile.write(folder / f"{name}.wav", noise, 16000)
    units = SpokenUnits(100, 50.0, UnitModel.load("default").hash, "built in")
    folders.save(folder / "heard", decoder(SMALL), units)
    folders.save(folder / "named", decoder(replace(TOLD, speakers=("anna", "bea"))), units)
    folders.save(folder / "numbers", decoder(replace(TOLD, speakers=("anna", "bea"), speaker_inputs=2)), units)
    folders.save(folder / "plain", decoder(replace(SMALL, prosody=None)), units)
    (folder / "pitch").mkdir()
    f0 = 120 * np.exp(0.2 * np.sin(np.arange(19))).astype(np.float32)
    pitch_files.write(folder / "pitch", PitchSettings(), {"a": f0}, {"a": "anna"})
    return folder


def voice(work: Path, name: str = "heard") -> MelVoice:
    return MelVoice(folders.load(work / name), iterations=2)


def source(work: Path) -> tuple[np.ndarray, Units]:
    wav = soundfile.read(work / "in" / "a.wav", dtype="float32")[0]
    return wav, UnitModel.load("default")(wav, 16000)


def planned(work: Path, *parts: str, model: str = "heard", to: object = None, by: str = "anna") -> Plan:
    target = convert_as(voice(work, model), to or work / "ref", parts, pitch_files.read(work / "pitch"))
    return target.plan(replace(SOURCE, speaker=by), *source(work))


def numbers(plan: Plan) -> dict[str, Tensor]:
    """What each part decides."""
    speaker = plan.speaker if isinstance(plan.speaker, Tensor) else torch.tensor(plan.speaker)
    contours = torch.stack([plan.contours.pitch, plan.contours.voicing, plan.contours.energy])
    return {"rhythm": plan.durations, "pitch": contours, "speaker": speaker, "content": plan.ids}


@pytest.mark.parametrize("parts", [("rhythm",), ("pitch",), ("speaker",), ("rhythm", "speaker"), PARTS])
@pytest.mark.parametrize("model", ["heard", "named"])
def test_what_is_converted_is_the_references_and_the_rest_stays(work: Path, model: str, parts: tuple[str, ...]) -> None:
    """All of one plan where a part is converted, all of the other where it is not."""
    to = "bea" if model == "named" and parts == ("speaker",) else work / "ref"
    if model == "named" and "speaker" in parts and to != "bea":
        with pytest.raises(DataError, match="not a speaker of this voice"):
            planned(work, *parts, model=model)
        return
    found, own = numbers(planned(work, *parts, model=model, to=to)), own_numbers(work, model)
    for name in PARTS:
        same = found[name].shape == own[name].shape and torch.allclose(found[name].float(), own[name].float())
        assert same == (name not in parts), name
    assert torch.equal(found["content"], own["content"])


def own_numbers(work: Path, model: str) -> dict[str, Tensor]:
    """Of the source itself."""
    wav, units = source(work)
    trained, runs = folders.load(work / model), units.dedup()
    module = trained.module
    mel = module.patches(torch.from_numpy(wav)[None], torch.tensor([len(wav)]), units.num_frames)
    f0 = pitch_files.read(work / "pitch").f0("a")[: units.num_frames]
    power = module.mels(mel)[0].exp().mean(1).reshape(-1, 2).mean(1).log()
    power = power - power.mean()
    places = np.repeat(np.arange(len(runs)), runs.durations)
    semitones = SEMITONES * (np.log(f0) - np.log(pitch_files.read(work / "pitch").f0("a")).mean())
    rows = [[float(np.mean(values[places == n])) for n in range(len(runs))] for values in (semitones, power.numpy())]
    contours = torch.tensor([rows[0], [1.0] * len(runs), rows[1]])
    speaker = torch.tensor(0) if model == "named" else module.prosody.embed_speaker(mel)[0]  # type: ignore[union-attr]
    return {"rhythm": torch.from_numpy(runs.durations), "pitch": contours, "speaker": speaker,
            "content": torch.from_numpy(runs.ids)}  # fmt: skip


def test_what_is_predicted_is_of_the_sources_units_in_the_references_prosody(work: Path) -> None:
    prosody, speaker = conversion.heard_prosody(voice(work), work / "ref")
    plan, module = planned(work, *PARTS), folders.load(work / "heard").module
    assert module.prosody is not None and speaker is not None and torch.equal(plan.speaker, speaker)  # type: ignore[arg-type]
    expected = module.prosody.predict(module.content(plan.ids[None]), prosody[None])
    assert torch.equal(plan.durations, expected.frames()[0])
    assert torch.equal(plan.contours.energy, expected.contour().energy[0])
    wav = soundfile.read(work / "ref" / "x y.wav", dtype="float32")[0]
    mel = module.patches(torch.from_numpy(wav)[None], torch.tensor([len(wav)]), len(wav) // 320)
    torch.testing.assert_close(prosody, module.prosody.embed(mel)[0])


def test_units_are_spoken_for_their_durations_with_their_contours(work: Path) -> None:
    target, plan = convert_as(voice(work), work / "ref"), planned(work, *PARTS)
    plan = Plan(plan.ids[:2], torch.tensor([1, 3]), conversion.Contours(*(c[:2] for c in (
        plan.contours.pitch, plan.contours.voicing, plan.contours.energy))), plan.speaker)  # fmt: skip
    module = target.voice.decoder.module
    wide = module.prosody.inputs(plan.contours)[[0, 1, 1, 1]]  # type: ignore[union-attr]
    mel = module.decode(plan.ids[[0, 1, 1, 1]], speaker=plan.speaker, more=wide)
    assert torch.equal(target.say(plan), target.voice.sound(mel)) and len(target.say(plan)) == 4 * 320


def test_one_unit_is_spoken_and_none_is_refused(work: Path) -> None:
    target = convert_as(voice(work), work / "ref", ("rhythm", "pitch"))
    wav, units = source(work)
    one = Units.from_frames(units.frames()[:1], rate_hz=50.0, size=100)
    assert len(target.say(target.plan(SOURCE, wav[:400], one))) % 320 == 0
    with pytest.raises(DataError, match="no units"):
        target.plan(SOURCE, wav[:0], Units.from_frames([], rate_hz=50.0, size=100))
    with pytest.raises(DataError, match="8 kinds"):
        target.plan(SOURCE, wav, Units.from_frames([1], rate_hz=50.0, size=8))


def test_f0_is_tracked_where_it_is_not_given_and_without_a_voiced_frame_it_cannot_be_kept(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wav, units = source(work)
    f0 = pitch_files.read(work / "pitch").f0("a")
    monkeypatch.setattr(conversion, "track", lambda samples, rate, settings: f0)
    target = convert_as(voice(work), work / "ref", ("rhythm",))
    told = replace(target, pitch=pitch_files.read(work / "pitch"))
    found, expected = (one.plan(SOURCE, wav, units).contours.pitch for one in (target, told))
    torch.testing.assert_close(found, expected)  # of one recording, whose mean is its speaker's
    monkeypatch.setattr(conversion, "track", lambda samples, rate, settings: 0 * f0)
    with pytest.raises(AudioError, match="no frame is voiced"):
        target.plan(SOURCE, wav, units)
    assert convert_as(voice(work), work / "ref", ("pitch",)).plan(SOURCE, wav, units).contours.pitch is not None


def test_speakers_are_told_by_name_or_numbers_where_the_decoder_hears_none(work: Path) -> None:
    assert planned(work, "speaker", model="named", to="bea", by="anna").speaker == 1
    assert planned(work, "rhythm", model="named", by="bea").speaker == 1
    assert planned(work, "rhythm", model="numbers", by="bea").speaker == 1
    np.save(work / "e.npy", np.array([0.6, 0.8], np.float32))
    found = planned(work, "speaker", model="numbers", to=work / "e.npy").speaker
    assert isinstance(found, Tensor) and found.tolist() == pytest.approx([0.6, 0.8])
    with pytest.raises(DataError, match="carla"):
        planned(work, "rhythm", model="named", by="carla")


@pytest.mark.parametrize(
    ("model", "to", "parts", "message"),
    [
        ("heard", "ref", ("melody",), "'melody' cannot be converted: choose from rhythm, pitch, speaker"),
        ("heard", "ref", (), "nothing is to be converted"),
        ("heard", "e.npy", ("speaker",), "hears its speakers: give a recording"),
        ("named", "bea", ("speaker", "rhythm"), "no rhythm and no pitch"),
        ("plain", "ref", ("rhythm",), "has no prosody to convert"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    work: Path, model: str, to: str, parts: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        convert_as(voice(work, model), to if to == "bea" else work / to, parts)


def test_the_command_converts_what_it_is_told_and_all_without(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["convert-voice", str(work / "in"), "--to", str(work / "ref"), "--quiet", "--pitch", str(work / "pitch")]
    heard = [*given, "--mel-decoder", str(work / "heard")]
    for options, parts in (([], PARTS), (["--convert", "rhythm", "pitch"], ("rhythm", "pitch"))):
        out = tmp_path / "-".join(parts)
        assert main([*heard, *options, "-o", str(out)]) == 0
        target = convert_as(
            MelVoice(folders.load(work / "heard")), work / "ref", parts, pitch_files.read(work / "pitch")
        )
        expected = target.say(target.plan(SOURCE, *source(work)))
        found = soundfile.read((out / "wav.scp").read_text().split(" ", 1)[1].strip())[0]
        np.testing.assert_allclose(found, expected, atol=2 / 32768)
        assert (out / "utt2spk").exists() == ("speaker" in parts)
    assert main([*heard, "--convert", "rhythm", "-o", str(tmp_path / "rhythm-pitch")]) == 2  # holds another conversion
    capsys.readouterr()
    refused = [(["--speed", "2"], "speed has no effect"), (["--f0", "2"], "f0 has no effect")]
    for options, message in refused:
        assert main([*heard, *options, "-o", str(tmp_path / "x")]) == 2 and message in capsys.readouterr().err
    plain = [*given, "--mel-decoder", str(work / "plain"), "-o", str(tmp_path / "x"), "--convert", "speaker"]
    assert main(plain) == 2 and "has no prosody to convert" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*heard, "--convert", "melody", "-o", str(tmp_path / "x")])
    again = ["resynth", str(work / "in"), "--mel-decoder", str(work / "heard"), "-o", str(tmp_path / "y"), "--quiet"]
    assert main(again) == 2 and "convert-voice" in capsys.readouterr().err


def test_a_recording_without_what_is_to_be_kept_is_in_the_failures(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "track", lambda samples, rate, settings: np.zeros(19, np.float32))
    command = ["convert-voice", str(work / "in"), "--to", str(work / "ref"), "--mel-decoder", str(work / "heard"),
               "--quiet", "--convert", "rhythm", "-o", str(tmp_path / "out")]  # fmt: skip
    assert main(command) == 2
    assert "unvoiced\tno frame is voiced" in (tmp_path / "out" / "failures.tsv").read_text()


def test_the_library_converts_as_the_command_does(work: Path) -> None:
    converter = speechssl.load_voice_converter(work / "heard")
    wav, units = source(work)
    found = converter(work / "in" / "a.wav", work / "ref", convert=["pitch", "speaker"])
    target = convert_as(MelVoice(folders.load(work / "heard")), work / "ref", ("speaker", "pitch"))
    assert torch.equal(found, target.say(target.plan(SOURCE, wav, units)))


def test_what_decides_the_samples_is_in_the_identity(work: Path) -> None:
    one = ProsodyTarget(voice(work), Reference("x", torch.zeros(3), torch.ones(3)), ("pitch",))
    others = [replace(one, parts=PARTS), replace(one, pitch=pitch_files.read(work / "pitch")),
              replace(one, reference=Reference("x", torch.ones(3), torch.ones(3)))]  # fmt: skip
    assert len({each.identity for each in [one, *others]}) == 4
    assert replace(one, reference=replace(one.reference, name="y")).identity == one.identity


def test_a_folder_keeps_prosody_and_a_changed_one_is_noticed(work: Path, tmp_path: Path) -> None:
    loaded = folders.load(work / "heard")
    assert loaded.card.config == SMALL.whole() and loaded.module.prosody is not None
    weights, stored = decoder(SMALL).state_dict(), loaded.module.state_dict()
    assert set(weights) == set(stored) and all(torch.equal(weights[name], stored[name]) for name in weights)
    (tmp_path / "card.json").write_text(
        (work / "heard" / "card.json").read_text().replace('"width": 1.0', '"width": 2.0')
    )
    (tmp_path / "model.safetensors").write_bytes((work / "heard" / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="do not match"):
        folders.load(tmp_path)
