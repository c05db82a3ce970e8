"""Training of mel readers and converters: who learns from which loss, targets, a toy pair, and the two recipes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from recipes import mel_reader as reader_recipe
from recipes import stargan_vc as recipe
from speechssl import config
from speechssl.data import pitch_files
from speechssl.data.batch import Batch
from speechssl.data.pitch import Settings
from speechssl.errors import DataError
from speechssl.nn import conversion_losses as losses
from speechssl.training.mel_conversion import Conversion, Losses, draw_targets, find_voices
from speechssl.units import mel_converter as folders
from speechssl.vocoders.mel_converter import of_speaker
from speechssl.vocoders.mel_reader import MelReader
from tests.training.helpers import _toml
from tests.training.test_pretrain import losses as logged
from tests.training.test_pretrain import weights
from tests.vocoders.test_mel_converter import READER, SMALL

CONF = Path(recipe.__file__).parent / "conf"
PLAIN = Losses(r1_every=4, decay=0.5)


def made(settings: Losses = PLAIN, reader: MelReader | None = None) -> Conversion:
    torch.manual_seed(0)
    return Conversion(SMALL, reader or MelReader(READER), settings, critic_channels=3).train()


def batch(size: int = 4, seconds: float = 0.2, seed: int = 0) -> Batch:
    """Noise with its power low for speaker 0 and high for speaker 1."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(size, int(16000 * seconds) + 1, generator=random) * 0.1
    speakers = torch.arange(size) % 2
    sign = torch.where(speakers == 0, 1.0, -1.0).unsqueeze(1)
    wav = noise[:, 1:] + sign * 0.9 * noise[:, :-1]
    return Batch(wav, torch.full((size,), wav.shape[1]), torch.arange(size) + 10 * seed, ("",) * size, groups=speakers)


def gradients(module: torch.nn.Module) -> list[Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


@pytest.mark.parametrize("update", [1, 4])
def test_each_player_gets_the_gradient_of_its_own_loss(update: int) -> None:
    model, given = made(), batch()
    model.updates.fill_(update)
    model(given).loss.backward()
    ours, theirs = gradients(model.converter.generator), gradients(model.discriminator)
    sources = gradients(model.classifier)

    model.zero_grad(set_to_none=True)
    converter, weights_, speakers = model.converter, model.weights, given.groups
    assert speakers is not None
    mel = converter.mels(given.wav, given.lengths, 20)
    drawn = draw_targets(speakers, given.seeds, 3)
    wanted = speakers[drawn.rows]
    found = drawn.latents if update == 4 else (mel[drawn.rows], mel[drawn.others])
    style, other = (converter.mapping(one, wanted) if update == 4 else converter.style(one, wanted) for one in found)
    out = converter(mel, style)
    judged = of_speaker(model.discriminator(out), wanted).squeeze(1)
    heard = [converter.reader.hear_pitch(converter.log_mels(one)) for one in (mel, out, converter(mel, other.detach()))]
    f0 = [converter.reader.hertz(one) for one in heard]
    back = converter(out, converter.style(mel, speakers))
    named = [converter.log_mels(mel), converter.log_mels(out)]
    total = (
        2 * losses.generator_loss(judged) + losses.style_loss(style, converter.style(out, wanted))
        - losses.diversity_loss(out, converter(mel, other.detach()).detach(), heard[1], heard[2].detach())
        + 5 * losses.pitch_loss(f0[0], f0[1]) + losses.norm_loss(*named) + 5 * losses.cycle_loss(mel, back)
        + 0.5 * losses.source_classifier_loss(model.classifier(out).squeeze(2), wanted)
    )  # fmt: skip
    expected = torch.autograd.grad(4 * total, list(converter.generator.parameters()), retain_graph=True)
    for one, two in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, two, atol=2e-4, rtol=1e-3)
    real_mel = mel.clone().requires_grad_()
    real = of_speaker(model.discriminator(real_mel), speakers).squeeze(1)
    critic = losses.discriminator_loss(real, of_speaker(model.discriminator(out.detach()), wanted).squeeze(1))
    if update == 4:
        critic = critic + 4 * losses.gradient_penalty(real_mel, real)
    for one, two in zip(theirs, torch.autograd.grad(4 * critic, list(model.discriminator.parameters())), strict=True):
        torch.testing.assert_close(one, two, atol=2e-4, rtol=1e-3)
    said = weights_.classifier * losses.source_classifier_loss(model.classifier(out.detach()).squeeze(2), speakers)
    for one, two in zip(sources, torch.autograd.grad(4 * said, list(model.classifier.parameters())), strict=True):
        torch.testing.assert_close(one, two, atol=2e-4, rtol=1e-3)


def test_targets_are_any_speakers_utterances_and_follow_their_own_seed() -> None:
    speakers = torch.tensor([0, 0, 1, 2, 1])
    seen = torch.zeros(5, 3)
    for start in range(0, 300, 5):
        drawn = draw_targets(speakers, torch.arange(start, start + 5), 3)
        assert torch.equal(speakers[drawn.rows], speakers[drawn.others])
        several = torch.tensor([(speakers == speakers[row]).sum() > 1 for row in drawn.rows])
        assert bool(((drawn.rows != drawn.others) == several).all())
        assert bool((drawn.rows[several] != torch.arange(5)[several]).all())
        seen[torch.arange(5), speakers[drawn.rows]] += 1
    assert bool(((seen > 8) & (seen < 32)).all())  # 20 of 60 each, own ones as others
    one, two = (draw_targets(speakers[:3], torch.tensor(seeds), 3) for seeds in ([0, 1, 2], [0, 99, 2]))
    assert torch.equal(one.latents[:, ::2], two.latents[:, ::2]) and torch.equal(one.rows[::2], two.rows[::2])
    assert not torch.equal(one.latents[:, 1], two.latents[:, 1])
    assert draw_targets(torch.zeros(1, dtype=torch.int64), torch.tensor([3]), 3).rows.tolist() == [0]


def test_the_average_follows_and_the_reader_stays() -> None:
    model = made()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    before = model.average.generator.last.weight.clone()
    reader = {name: tensor.clone() for name, tensor in model.converter.reader.state_dict().items()}
    model(batch()).loss.backward()
    optimizer.step()
    model.after_step(1)
    now = model.converter.generator.last.weight
    torch.testing.assert_close(model.average.generator.last.weight, (before + now) / 2)
    assert not torch.equal(before, now) and int(model.updates) == 1
    for module in (model.converter, model.average):
        assert all(torch.equal(tensor, reader[name]) for name, tensor in module.reader.state_dict().items())


def test_the_classifier_waits_and_what_is_said_counts_where_it_is_asked_for() -> None:
    assert {"source", "classifier"} & set(made(replace(PLAIN, classifier_from=3))(batch()).scalars) == set()
    told = made(replace(PLAIN, speech=1.0), MelReader(replace(READER, num_units=3)))(batch()).scalars
    assert float(told["speech"]) > 0 and {"source", "classifier"} < set(told)


def test_a_toy_pair_is_learned() -> None:
    """Two noises that differ in where their power lies: it moves to where the style's is, or stays."""
    light = {"norm": 0.0, "pitch": 0.0, "diversity": 0.0, "cycle": 1.0, "source": 0.0, "classifier": 0.0}
    model = made(Losses(decay=0.8, r1_every=8, **light))
    sample = batch(seconds=0.1)
    mel = model.converter.mels(sample.wav, sample.lengths, 10)
    for reader in (model.converter.reader, model.average.reader):
        reader.mean.copy_(mel.mean((0, 1)))
        reader.scale.copy_(mel.std((0, 1)))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2, betas=(0.0, 0.99))
    for update in range(1, 41):
        out = model(batch(seconds=0.1, seed=update))
        (out.loss / out.count).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.after_step(update)
    find_voices(model.average.eval(), [sample])
    log_mel = model.average.log_mels(model.average.mels(sample.wav, sample.lengths, 10))
    low, high = tilt(log_mel[::2]), tilt(log_mel[1::2])
    assert high - low > 3
    for source in (0, 1):
        spoken = [tilt(model.average.convert(log_mel[source], voice)) for voice in model.average.voices]
        assert spoken == [pytest.approx(low, abs=1), pytest.approx(high, abs=1)]
    figures = model.eval()(sample).scalars
    assert set(figures) == {"cycle", "pitch", "norm"} and float(figures["cycle"]) < 1


def test_a_speaker_who_comes_late_has_a_voice_and_nothing_is_read_when_all_have_enough() -> None:
    model, read = made().average.eval(), []
    one = replace(batch(4), groups=torch.zeros(4, dtype=torch.int64))

    def batches() -> Iterator[Batch]:
        for number, found in enumerate((one, one, batch(4, seed=1), batch(4, seed=2))):
            read.append(number)
            yield found

    find_voices(model, batches(), enough=2)
    assert read == [0, 1, 2]
    mel = model.mels(one.wav[:2], one.lengths[:2], int(one.lengths[0]) // model.config.reader.hop)
    torch.testing.assert_close(model.voices[0], model.style(mel, torch.zeros(2, dtype=torch.int64)).mean(0))
    with pytest.raises(DataError, match="no recording to find a style in"):
        find_voices(model, [one])


def tilt(mels: Tensor) -> float:
    """How much more power is in the higher half of the bins, in log."""
    return float(mels[..., 8:].mean() - mels[..., :8].mean())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten tones of two speakers, a data dir, their F0 and units."""
    folder, random = tmp_path_factory.mktemp("pair"), np.random.default_rng(0)
    tracks, lines, units = {}, [], []
    for number in range(10):
        hertz, name = (120.0, 220.0)[number % 2] * random.uniform(0.8, 1.25), f"u{number}"
        time = np.arange(12000) / 16000
        wave = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 9)) * 0.1 + random.normal(0, 0.01, 12000)
        soundfile.write(folder / f"{name}.wav", wave, 16000)
        tracks[name] = np.full(38, hertz, np.float32)
        lines.append(f"{name} {folder / name}.wav\n")
        units.append(f"{name} " + " ".join([str(number % 2)] * 38) + "\n")
    (folder / "wav.scp").write_text("".join(lines))
    speakers = {name: "ab"[number % 2] for number, name in enumerate(tracks)}
    (folder / "utt2spk").write_text("".join(f"{name} {who}\n" for name, who in speakers.items()))
    (folder / "pitch").mkdir()
    pitch_files.write(folder / "pitch", Settings(), tracks, speakers)
    (folder / "units").mkdir()
    (folder / "units" / "units").write_text("".join(units))
    card = {"num_units": 2, "rate_hz": 50.0, "unit_model": "c" * 64, "name": "tones"}
    outputs = [{"format": "text", "merged": False}]
    (folder / "units" / "units.json").write_text(json.dumps({"rate_hz": 50.0, "outputs": outputs, "model": card}))
    return folder


def reader_run(data: Path, run: Path, **others: Any) -> list[str]:
    values: dict[str, Any] = {
        "run": run, "data.train": data, "data.pitch": data / "pitch", "data.valid": data, "training.workers": 0,
        "threads": 1, "data.batching.seconds": 4.0, "data.batching.crop_s": 0.4, "data.batching.min_s": 0.4,
        "reader.dim": 24, "reader.dilations": (1,),
    } | {name.replace("__", "."): value for name, value in others.items()}  # fmt: skip
    return [str(CONF / "mel_reader.toml"), *(f"{name}={_toml(value)}" for name, value in values.items())]


@pytest.fixture(scope="module")
def reader(data: Path) -> Iterator[Path]:
    run = data / "reader"
    assert reader_recipe.main(reader_run(data, run, training__updates=80, data__labels=data / "units")) == 0
    yield run


def test_a_mel_reader_learns_f0_and_units(data: Path, reader: Path, tmp_path: Path) -> None:
    result = json.loads((reader / "result.json").read_text())
    assert result["valid_f0_rmse_semitones"] < 2 and result["valid_unit_accuracy"] > 0.95  # they are 10 apart
    found = folders.load_reader(reader / "mel_reader")
    wav = torch.from_numpy(soundfile.read(data / "u0.wav", dtype="float32")[0])[None]
    heard = found.hertz(found.hear_pitch(found.mels(wav, torch.tensor([12000]), 75)))[0, 5:70]
    expected = pitch_files.read(data / "pitch").f0("u0")[0]
    assert float(heard.median()) == pytest.approx(expected, rel=0.15)
    assert float((found.scale - 1).abs().max()) > 0.01  # measured
    assert json.loads((reader / "mel_reader" / "card.json").read_text())["unit_model"] == "c" * 64


def settings(data: Path, reader: Path, run: Path, **others: Any) -> list[str]:
    values: dict[str, Any] = {
        "run": run, "data.train": data, "data.valid": data, "reader": reader / "mel_reader", "threads": 1,
        "data.batching.seconds": 1.6, "data.batching.crop_s": 0.4, "data.batching.min_s": 0.4,
        "data.valid_batching.seconds": 2.0, "data.valid_batching.crop_s": 0.5, "converter.channels": 4,
        "converter.most_channels": 8, "converter.hidden": 8, "critic_channels": 4, "losses.classifier_from": 1,
        "losses.r1_every": 2, "training.updates": 4, "training.log_every": 1, "training.save_every": 2,
        "training.valid_every": 4, "training.workers": 0, "training.keep": 9,
    } | {name.replace("__", "."): value for name, value in others.items()}  # fmt: skip
    return [str(CONF / "tiny_stargan_vc.toml"), *(f"{name}={_toml(value)}" for name, value in values.items())]


def test_a_run_goes_on_where_it_was_and_leaves_a_converter_of_its_speakers(
    data: Path, reader: Path, tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert recipe.main(settings(data, reader, whole, losses__speech=10.0)) == 0
    for updates in (2, 4):
        assert recipe.main(settings(data, reader, parts, losses__speech=10.0, training__updates=updates)) == 0
    for name, tensor in weights(whole, 4).items():
        assert torch.equal(tensor, weights(parts, 4)[name]), name
    assert logged(whole)[-1] == logged(parts)[-1]
    first, last = weights(whole, 2), weights(whole, 4)
    still = {name for name in last if torch.equal(first[name], last[name])}
    assert {name.split(".")[1] for name in still} <= {"reader", "voices"}  # all else learns
    voice = folders.load(whole / "mel_converter")
    assert voice.module.config.speakers == ("a", "b") and voice.card.training["updates"] == 4
    assert float((voice.module.voices[0] - voice.module.voices[1]).abs().max()) > 0
    assert json.loads((whole / "result.json").read_text())["valid_cycle"] > 0


def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    data: Path, reader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*options: str, **others: Any) -> str:
        assert recipe.main([*settings(data, reader, tmp_path / "run", **others), *options]) == 2
        assert not (tmp_path / "run").exists()
        return capsys.readouterr().err

    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "wav.scp").write_text((data / "wav.scp").read_text())
    (alone / "utt2spk").write_text("".join(f"u{number} a\n" for number in range(10)))
    assert "two speakers" in refused(data__train=alone)
    assert "other speakers" in refused(data__valid=alone)
    assert "leave them out" in refused("converter.speakers=['a', 'b']")
    assert "at least 1" in refused("losses.r1_every=0")
    assert "training.shard" in refused("training.shard=true")
    (tmp_path / "deaf").mkdir()
    folders.save_reader(tmp_path / "deaf" / "mel_reader", MelReader(replace(READER, num_mels=80)))
    assert recipe.main(settings(data, tmp_path / "deaf", tmp_path / "run", losses__speech=1.0)) == 2
    assert "hears units" in capsys.readouterr().err
    assert recipe.main(settings(data, tmp_path, tmp_path / "run")) == 2
    assert "recipes.mel_reader" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["stargan_vc", "tiny_stargan_vc"])
def test_the_configs_build(name: str) -> None:
    run = config.load(recipe.Run, CONF / f"{name}.toml", ["data.train=x", "reader=y"])
    with torch.device("meta"):
        size = sum(p.numel() for p in recipe.build(run, MelReader(run.converter.reader), ("a", "b")).parameters())
    assert size > 1e8 if name == "stargan_vc" else size < 4e6
