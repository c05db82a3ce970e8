"""Codes of F0: shapes, the choice of codewords, the loss, learning; hand-computed scores."""

import numpy as np
import pytest
import torch

from speechssl.errors import ConfigError, DataError
from speechssl.training import pitch_codes
from speechssl.training.pitch_codes import Settings, losses_of
from speechssl.vocoders.pitch_coder import Config, PitchCoder
from speechssl.vocoders.unit_vocoder import Config as VocoderConfig
from speechssl.vocoders.unit_vocoder import UnitVocoder

SMALL = Config(num_codes=5, dim=4, channels=6, stages=2, depth=2)


def coder(config: Config = SMALL) -> PitchCoder:
    torch.manual_seed(0)
    return PitchCoder(config).eval()


@pytest.mark.parametrize(("frames", "codes"), [(1, 1), (4, 1), (5, 2), (16, 4)])
def test_a_code_stands_for_frames_and_a_last_one_for_what_is_left(frames: int, codes: int) -> None:
    model, pitch = coder(), torch.randn(2, frames, 2, generator=torch.Generator().manual_seed(1))
    found = model.encode(pitch)
    assert found.shape == (2, codes) and model.decode(found).shape == (2, 4 * codes, 2)
    padded = torch.cat([pitch, pitch.new_zeros(2, 4 * codes - frames, 2)], 1)
    assert torch.equal(model.encode(padded), found), "what is missing counts as unvoiced"
    assert torch.equal(model.per_unit(found, frames), found[:, torch.arange(frames) // 4])


def test_each_vector_becomes_its_nearest_codeword() -> None:
    model, pitch = coder(), torch.randn(1, 40, 2, generator=torch.Generator().manual_seed(2))
    hidden, words = model.hidden(pitch)[0].detach().double(), model.codebook.vectors[0].double()
    expected = [min(range(5), key=lambda code: float((vector - words[code]).square().sum())) for vector in hidden]
    assert model.encode(pitch)[0].tolist() == expected
    torch.testing.assert_close(model.vectors(torch.tensor([expected]))[0], words[expected].float())


def test_the_loss_is_that_of_the_codes_and_its_gradient_goes_past_the_choice() -> None:
    model, pitch = coder().double(), torch.randn(3, 8, 2, dtype=torch.float64)
    loss, vectors, codes = losses_of(model, pitch, 0.5)
    hidden, chosen = model.hidden(pitch), model.vectors(codes.view(3, 2))
    made = model.reconstruct(chosen)
    expected = (made - pitch).square().mean() + 0.5 * (hidden - chosen).square().mean()
    torch.testing.assert_close(loss, expected)
    assert torch.equal(vectors, hidden.flatten(0, 1).detach()) and codes.shape == (6, 1)
    loss.backward()
    own = [parameter.grad.clone() for parameter in model.encoder.parameters() if parameter.grad is not None]
    model.zero_grad()
    at_codes = chosen.detach().requires_grad_()
    (model.reconstruct(at_codes) - pitch).square().mean().backward()
    model.zero_grad()
    hidden = model.hidden(pitch)
    assert at_codes.grad is not None
    hidden.backward(at_codes.grad + (hidden - chosen).detach() / hidden.numel())  # of the commitment: 2 x 0.5 / N
    for mine, parameter in zip(own, model.encoder.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad)


def contours(number: int) -> list[np.ndarray]:
    """Slow rises and falls, an unvoiced part in each."""
    random, found = np.random.default_rng(number), []
    for _ in range(12):
        time = np.arange(int(random.integers(40, 90)))
        value = np.sin(time / 9 + random.uniform(0, 6))
        voiced = (time + int(random.integers(30))) % 40 > 12
        found.append(np.stack([value * voiced, voiced], 1).astype(np.float32))
    return found


def test_contours_come_back_and_the_same_seed_gives_the_same_coder() -> None:
    settings, config = Settings(updates=250, crops=16, frames=32, lr=2e-3), Config(num_codes=16, dim=8, channels=16)
    model, losses = pitch_codes.learn(contours(0), config, settings)
    found = pitch_codes.score(model, contours(1))
    assert losses[-1] < 0.5 * losses[0]
    assert found.rmse < 0.5 and found.voicing_error < 0.15 and found.used_codes > 8, "0.72 without pitch; 0.33 unvoiced"
    again, _ = pitch_codes.learn(contours(0), config, settings)
    assert all(torch.equal(one, two) for one, two in zip(model.state_dict().values(), again.state_dict().values(),
                                                         strict=True))  # fmt: skip


def test_scores_are_those_counted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    model = coder()
    made = torch.tensor([[[1.0, 1.0], [0.0, 0.9], [5.0, 0.1], [2.0, 0.8]]])
    monkeypatch.setattr(model, "decode", lambda codes: made)
    found = pitch_codes.score(model, [np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 0.0], [0.0, 0.0]], np.float32)])
    assert found.rmse == pytest.approx(((1 + 4) / 2) ** 0.5)  # of the two voiced frames
    assert found.voicing_error == 0.25 and found.frames == 4 and found.used_codes == 1


def test_a_vocoder_with_a_coder_has_a_bin_for_every_unit() -> None:
    torch.manual_seed(0)
    config = VocoderConfig(num_units=3, dim=4, pitch_bins=5, pitch_coder=SMALL,
                           generator={"kind": "wave", "channels": 32})  # fmt: skip
    vocoder, pitch = UnitVocoder(config), torch.randn(10, 2)
    assert vocoder.pitch_coder is not None and not any(p.requires_grad for p in vocoder.pitch_coder.parameters())
    bins = vocoder.pitch_input(pitch)
    assert torch.equal(bins, vocoder.pitch_coder.encode(pitch[None])[0].repeat_interleave(4)[:10])
    assert torch.equal(vocoder.pitch_input(torch.stack([pitch, pitch])), torch.stack([bins, bins]))
    with pytest.raises(DataError, match="2 numbers of 1 frames"):
        vocoder.coded(pitch[:, :1])
    with pytest.raises(ConfigError, match="pitch_bins=5"):
        VocoderConfig(num_units=3, pitch_bins=4, pitch_coder=SMALL)


@pytest.mark.parametrize("change", [{"inputs": 3}, {"stages": 0}, {"frames_per_unit": 3}, {"dim": 1 << 40}])
def test_what_cannot_be_built_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Config(**change)


def test_contours_without_voice_and_crops_of_half_a_code_are_refused() -> None:
    with pytest.raises(DataError, match="voiced"):
        pitch_codes.learn([np.zeros((9, 2), np.float32)], SMALL, Settings())
    with pytest.raises(ConfigError, match="multiple of 4"):
        pitch_codes.learn(contours(0), SMALL, Settings(frames=30))
