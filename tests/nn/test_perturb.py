"""Other voices, rooms and noises in log-mel frames."""

import math

import pytest
import torch

from speechssl import objectives
from speechssl.data.batch import Batch
from speechssl.encoders import melhubert, wav2vec2
from speechssl.errors import ConfigError
from speechssl.nn.mel import log_mel
from speechssl.nn.perturb import Perturbation, perturb, warp_frequencies
from speechssl.nn.speech_encoder import SpeechEncoder

ALL = Perturbation(warp=0.18, gain_db=8.7, noise_share=1.0)


def tone(hertz: float) -> torch.Tensor:
    wav = torch.sin(2 * math.pi * hertz * torch.arange(16_000) / 16_000)[None]
    return log_mel(wav, torch.tensor([16_000]), num_frames=90, hop=160, floor=1e-6)


def test_a_warped_tone_is_a_tone_elsewhere() -> None:
    warped = warp_frequencies(tone(1200.0)[0], 1.2, sample_rate=16_000)
    assert torch.equal(warped[40].argmax(), tone(1000.0)[0, 40].argmax())
    assert not torch.equal(warped[40].argmax(), tone(1200.0)[0, 40].argmax())


def test_an_utterance_is_changed_alike_whatever_stands_beside_it() -> None:
    mel = torch.randn(3, 60, 80)
    lengths, seeds = torch.tensor([60, 41, 0]), torch.tensor([4, 9, 2])
    together = perturb(mel, lengths, seeds, ALL, sample_rate=16_000)
    alone = perturb(mel[1:2], lengths[1:2], seeds[1:2], ALL, sample_rate=16_000)
    assert torch.equal(together[1], alone[0])
    assert together.isfinite().all()
    assert (together - mel).abs().mean() > 0.1


def test_noise_comes_at_the_stated_ratio() -> None:
    mel = torch.full((1, 400, 80), -60.0)
    mel[:, ::2] = 0.0  # every other frame is loud: half of its mean power is 1 / 2
    settings = Perturbation(noise_share=1.0, snr_db=(20.0, 20.0))
    noise = perturb(mel, torch.tensor([400]), torch.tensor([1]), settings, sample_rate=16_000)[0, 1::2].exp().mean()
    assert 10 * math.log10(0.5 / float(noise)) == pytest.approx(20.0, abs=1.5)  # flicker adds some power


@pytest.mark.parametrize("bad", [{"warp": -0.1}, {"noise_share": 1.1}, {"snr_db": (9.0, 3.0)}, {"gain_db": -1.0}])
def test_senseless_settings_are_refused(bad: dict) -> None:
    with pytest.raises(ConfigError):
        Perturbation(**bad)


def hubert(encoder: SpeechEncoder, **perturbation: float) -> torch.nn.Module:
    settings = {"penalty": 0.0, "masking": {"dropout": 0.0, "perturb": perturbation}}
    torch.manual_seed(0)
    return objectives.build("hubert", encoder, settings, num_labels=5)


def loss(objective: torch.nn.Module) -> float:
    wav = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(2 * 24).view(2, 24) % 5
    batch = Batch(wav, torch.tensor([8000, 8000]), torch.arange(2), ("a", "b"), labels=labels)
    return float(objective(batch).loss.detach())


def test_an_objective_hears_it_in_training_only() -> None:
    torch.manual_seed(0)
    encoder = melhubert.Model(melhubert.Config(dim=16, ffn_dim=32, num_layers=1, num_heads=2, pos_conv_kernel=8))
    plain, perturbed = hubert(encoder), hubert(encoder, warp=0.18, gain_db=8.7, noise_share=1.0)
    assert loss(perturbed.train()) != loss(plain.train())
    assert loss(perturbed.train()) == loss(perturbed.train())
    assert loss(perturbed.eval()) == loss(plain.eval())


def test_an_encoder_of_waveforms_cannot_have_it() -> None:
    encoder = wav2vec2.Model(wav2vec2.Config(dim=16, ffn_dim=32, num_layers=1, num_heads=2, pos_conv_kernel=16))
    with pytest.raises(ConfigError, match="waveform"):
        hubert(encoder, warp=0.1)
