"""Mels back to spectra: by hand, against a slow form, and against librosa's least squares."""

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl.nn.mel import mel_filters
from speechssl.vocoders.griffin_lim import spectrum


def drawn(frames: int, seed: int = 0) -> Tensor:
    """Power [T, F] of noise with formants, of bins that differ by 60 dB."""
    random = np.random.default_rng(seed)
    shape = np.exp(4 * np.sin(np.arange(129) * random.uniform(0.03, 0.1, (frames, 1))) - np.arange(129) / 20)
    return torch.from_numpy(shape * random.gamma(2.0, 1.0, (frames, 129)))


def test_one_update_by_hand_and_a_bin_that_no_filter_sees_is_silent() -> None:
    filters = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)
    mel = torch.tensor([[4.0, 2.0]], dtype=torch.float64)
    # from 3, 3: mels 4.5 and 1.5, ratios 8/9 and 4/3, of which the second bin takes the mean
    np.testing.assert_allclose(spectrum(mel, filters, updates=1), [[3 * 8 / 9, 3 * 10 / 9, 0.0]], rtol=1e-12)
    np.testing.assert_allclose(spectrum(mel, filters, updates=2000), [[2.0, 4.0, 0.0]], rtol=1e-6)


def test_mels_of_speech_like_power_are_met_and_no_power_is_negative() -> None:
    filters = mel_filters(20, 256, 16000).double()
    mel = drawn(30) @ filters
    power = spectrum(mel, filters)
    assert float(power.min()) >= 0
    assert float(((power @ filters).log() - mel.log()).abs().max()) < 0.01
    np.testing.assert_allclose(spectrum(mel * 1e6, filters), power * 1e6, rtol=1e-9)
    np.testing.assert_allclose(spectrum(mel[3:4], filters), power[3:4], rtol=1e-9)


def test_every_update_brings_the_divergence_down_where_mels_cannot_be_met() -> None:
    filters = mel_filters(20, 256, 16000).double()
    mel = torch.from_numpy(np.random.default_rng(1).gamma(0.3, 1.0, (5, 20)))  # neighbours that no spectrum has

    def divergence(updates: int) -> float:
        made = spectrum(mel, filters, updates=updates) @ filters
        return float((mel * (mel / made).log() - mel + made).sum())

    found = [divergence(updates) for updates in (1, 2, 3, 10, 100)]
    assert found == sorted(found, reverse=True) and found[-1] < 0.9 * found[0]


def test_log_mels_are_nearer_than_by_librosas_least_squares() -> None:
    librosa = pytest.importorskip("librosa")
    filters = mel_filters(8, 64, 16000)
    mel = (drawn(3)[:, ::4] @ filters.double()).float()
    theirs = librosa.util.nnls(filters.T.numpy(), mel.T.numpy()).T @ filters.numpy()
    ours = (spectrum(mel, filters) @ filters).numpy()

    def error(made: np.ndarray) -> float:
        return float(np.abs(np.log(made.clip(1e-4)) - np.log(mel.numpy().clip(1e-4))).mean())

    assert error(ours) < 0.02 and error(ours) <= error(theirs)
    assert np.abs(ours - theirs).max() < 0.02 * mel.numpy().max()  # where least squares look, they agree


def test_silence_stays_silent() -> None:
    filters = mel_filters(20, 256, 16000)
    power = spectrum(torch.zeros(2, 20), filters)
    assert power.shape == (2, 129) and not power.any()
