"""Mel decoders: mels in step with units, sampling, prompts, a second stream, folders, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import speechssl
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.nn.mel import mel_filters
from speechssl.nn.mel_definition import MelDefinition
from speechssl.objectives.mel_regression import absolute_loss
from speechssl.units import mel_decoder as folders
from speechssl.units.units import Units
from speechssl.units.vocoder import SpokenUnits
from speechssl.vocoders.griffin_lim import waveform
from speechssl.vocoders.mel_decoder import Config, MelDecoder, Sampling
from tests.encoders.parity import randomize

OWN = SpokenUnits(7, 50.0, "a" * 64, "a unit model")
SMALL = {"num_units": 7, "num_mels": 20, "dim": 8, "ffn_dim": 12, "num_layers": 1, "num_heads": 2, "kernel": 3}


def make(kind: str = "regression", **settings: object) -> MelDecoder:
    torch.manual_seed(0)
    decoder = MelDecoder(Config(**{**SMALL, "kind": kind, **settings}))
    randomize(decoder)
    decoder.mean.fill_(-3.0)
    decoder.scale.fill_(2.0)
    return decoder.eval()


def ids(count: int, seed: int = 0) -> Tensor:
    return torch.randint(7, (count,), generator=torch.Generator().manual_seed(seed))


def test_the_absolute_loss_by_hand_leaves_padding_out() -> None:
    predicted = torch.tensor([[[1.0, 2.0], [float("nan"), 0.0]]])
    assert float(absolute_loss(predicted, torch.tensor([[[0.0, 5.0], [0.0, 0.0]]]), torch.tensor([[True, False]]))) == 2


def test_a_click_is_loudest_in_the_mel_frame_of_its_hop_and_patches_go_back() -> None:
    decoder = make()
    for sample in (320 * 10 + 80, 320 * 10 + 240):  # the middle of mel frames 20 and 21
        wav = torch.zeros(1, 16000)
        wav[0, sample] = 1.0
        patches = decoder.patches(wav, torch.tensor([16000]), 40)
        mel = decoder.mels(patches)
        assert patches.shape == (1, 40, 40) and int(mel[0].sum(1).argmax()) == sample // 160
        again = decoder.normalized(mel).unflatten(1, (40, 2)).flatten(2)
        torch.testing.assert_close(again, patches, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["regression", "flow", "diffusion"])
def test_the_same_seed_gives_the_same_mel_and_another_one_another_where_something_is_drawn(kind: str) -> None:
    decoder = make(kind)
    found = [decoder.decode(ids(9), Sampling(steps=3, eta=float(kind == "diffusion"), seed=seed)) for seed in (1, 1, 2)]
    assert found[0].shape == (18, 20) and torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2]) == (kind == "regression")


def test_a_diffusion_that_says_the_data_in_its_velocity_is_decoded_to_it() -> None:
    """Velocities a noise - sqrt(1 - a^2) data of what is shown, for data of 0.25 everywhere."""
    decoder = make("diffusion", says="velocity")

    def said(condition: Tensor, *, noisy: Tensor, time: Tensor, prompt: Tensor | None = None) -> Tensor:
        a = time.view(-1, 1, 1)
        noise = (noisy - a * 0.25) / (1 - a.square()).sqrt()
        return a * noise - (1 - a.square()).sqrt() * 0.25

    decoder.forward = said  # type: ignore[assignment]
    found = decoder.normalized(decoder.decode(ids(5), Sampling(steps=4)))
    torch.testing.assert_close(found, torch.full_like(found, 0.25), atol=1e-3, rtol=0)
    with pytest.raises(ConfigError, match="no effect on a flow"):
        make("flow", says="velocity")


def test_guidance_goes_away_from_what_is_said_without_content() -> None:
    decoder = make("flow", guided=True)
    x, time = torch.randn(1, 5, 40), torch.tensor([0.4])
    with torch.no_grad():
        condition = decoder.condition(ids(5)[None])
        one, other = (decoder(c, noisy=x, time=time) for c in (condition, decoder.without(condition)))
        found = decoder._guided(condition, None, 0.5)(x, time)
    torch.testing.assert_close(found, 1.5 * one - 0.5 * other)
    with pytest.raises(ConfigError, match="guidance"):
        make("flow").decode(ids(5), Sampling(steps=1, guidance=1.0))


def test_a_prompt_is_given_back_and_changes_what_follows() -> None:
    decoder = make("flow", prompt=True)
    prompt = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    one = decoder.decode(ids(8), Sampling(steps=2), prompt=prompt)
    assert torch.equal(one[:6], prompt)
    assert not torch.allclose(one[6:], decoder.decode(ids(8), Sampling(steps=2), prompt=prompt + 1)[6:])
    for wrong in (prompt[:5], prompt[:, :3], torch.zeros(16, 20)):
        with pytest.raises(DataError, match="prompt"):
            decoder.decode(ids(8), prompt=wrong)


def test_a_second_stream_is_learned_from_and_may_be_absent() -> None:
    """Of a mel that follows the second stream alone the decoder learns nothing without it, and nearly all with it."""
    random = torch.Generator().manual_seed(0)
    content, lips = torch.randn(4, 30, 3, generator=random), torch.randn(4, 30, 2, generator=random)
    target = (lips @ torch.randn(2, 40, generator=random)).detach()
    losses = {}
    for seen in (True, False):
        torch.manual_seed(0)
        decoder = MelDecoder(Config(**{**SMALL, "num_units": 0, "inputs": 3, "more_inputs": 2, "dim": 24}))
        optimizer = torch.optim.Adam(decoder.parameters(), lr=2e-2)
        for _ in range(30):
            said = decoder(decoder.condition(content, more=lips if seen else None))
            loss = absolute_loss(said[:3], target[:3], torch.ones(3, 30, dtype=torch.bool)) / 90
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            said = decoder(decoder.condition(content, more=lips if seen else None))
        losses[seen] = float(absolute_loss(said[3:], target[3:], torch.ones(1, 30, dtype=torch.bool)) / 30)
    assert losses[True] < 0.7 * losses[False]
    absent = decoder.decode(content[0])
    assert torch.equal(absent, decoder.decode(content[0], more=torch.zeros(30, 2)))


def test_what_cannot_be_decoded_is_refused() -> None:
    decoder = make()
    for wrong, message in ((torch.tensor([1, 7]), "unit 7 is unknown"), (torch.tensor([-1]), "unit -1 is unknown"),
                           (ids(0), "no units"), (torch.zeros(3), "whole unit ids")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            decoder.decode(wrong)
    with pytest.raises(DataError, match="second stream"):
        decoder.decode(ids(3), more=torch.zeros(3, 2))
    with pytest.raises(DataError, match="speakers to choose from"):
        decoder.decode(ids(3), speaker=0)
    for settings in ({"inputs": 3}, {"num_units": 0}, {"dim": 7}, {"window": 100}, {"prompt": True}):
        with pytest.raises(ConfigError):
            Config(**{**SMALL, **settings})


def test_a_folder_gives_the_same_mel_and_knows_its_units(tmp_path: Path) -> None:
    decoder = make("flow")
    folders.save(tmp_path / "mel", decoder, OWN, layer=5)
    loaded = speechssl.load_mel_decoder(tmp_path / "mel")
    units = Units.from_frames(ids(6).numpy(), rate_hz=50.0, size=7)
    sampling = Sampling(steps=2)
    assert torch.equal(loaded(units.dedup(), sampling=sampling), decoder.decode(ids(6), sampling))
    loaded.check("a" * 64)
    with pytest.raises(DataError, match="other sounds"):
        loaded.check("b" * 64)
    with pytest.raises(DataError, match="8 kinds"):
        loaded(Units.from_frames(np.array([1]), rate_hz=50.0, size=8))
    with pytest.raises(ConfigError, match="100 units"):
        folders.save(tmp_path / "other", decoder, SpokenUnits(100, 50.0))


def test_changed_and_missing_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "mel"
    folders.save(folder, make(), OWN)
    card = json.loads((folder / "card.json").read_text())
    other = shutil.copytree(folder, tmp_path / "wide")
    (other / "card.json").write_text(json.dumps({**card, "config": {**card["config"], "dim": 1 << 20}}))
    with pytest.raises(CheckpointError, match="does not describe"):
        folders.load(other)
    (other / "card.json").write_text(json.dumps({**card, "sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="do not match"):
        folders.load(other)
    (other / "card.json").write_text(json.dumps({**card, "format": "speechssl-vocoder-1"}))
    with pytest.raises(CheckpointError, match="format is not"):
        folders.load(other)
    with pytest.raises(CheckpointError, match=r"recipes\.mel"):
        folders.load(tmp_path / "nothing")


def test_griffin_lim_gives_mels_back_in_step() -> None:
    librosa = pytest.importorskip("librosa")
    assert librosa
    decoder = MelDecoder(Config(num_units=7, dim=8, num_heads=2))
    time = torch.arange(6400) / 16000
    wav = (0.3 * torch.sin(2 * torch.pi * 300 * time) * (time > 0.2)).unsqueeze(0)
    lengths = torch.tensor([6400])
    mel = decoder.mels(decoder.patches(wav, lengths, 20))[0]
    made = waveform(mel.numpy(), decoder.config, iterations=20)
    assert made.shape == (6400,) and made.dtype == np.float32
    assert np.square(made[:2600]).mean() < 0.01 * np.square(made[3600:]).mean()
    again = decoder.mels(decoder.patches(torch.from_numpy(made)[None], lengths, 20))[0]
    loud = mel > mel.max() - 6
    assert float((again - mel)[loud].abs().mean()) < 0.5
    with pytest.raises(DataError, match="80 bins"):
        waveform(np.zeros((3, 7), np.float32), decoder.config)
    np.testing.assert_array_equal(waveform(mel.numpy(), decoder.config.mel_definition, iterations=20), made)
    with pytest.raises(ConfigError, match="natural log mels of power"):
        waveform(mel.numpy(), MelDefinition(of="magnitude"))


def test_griffin_lim_of_mels_louder_than_any_samples_is_finite_and_no_samples_reach_the_limit() -> None:
    """What a decoder says that has not learned yet; a full-scale square wave stays below the limit."""
    pytest.importorskip("librosa")
    config = Config(num_units=5, num_mels=20)
    loud = waveform(np.full((6, 20), 500.0, np.float32), config, iterations=2)
    assert np.isfinite(loud).all() and abs(loud).max() <= 1
    filters, square = mel_filters(20, 1024, config.sample_rate).numpy(), np.sign(np.sin(np.arange(config.window) * 0.1))
    power = abs(np.fft.rfft(np.hanning(config.window) * square, 1024)) ** 2
    assert np.log(power @ filters).max() < 2 * np.log(config.window) + np.log(filters.sum(0).max())
