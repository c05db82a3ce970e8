"""Spectrograms for the eye: frequencies and times are where they belong."""

import numpy as np
import pytest

from speechssl.report import spectrogram
from tests.report.test_png import decode


def test_filters_equal_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    ours = spectrogram.mel_filters(40, 512, 16000, low_hz=60.0)
    theirs = librosa.filters.mel(sr=16000, n_fft=512, n_mels=40, fmin=60.0, htk=True, norm=None)
    # librosa's triangles are straight in Hz, ours in mel: same feet and summits, so they differ inside by little
    np.testing.assert_array_equal(ours[:, :-1] > 0, theirs[:, :-1] > 0)  # not Nyquist: rounding
    assert np.abs(ours - theirs).max() < 0.05


def test_every_filter_passes_something_even_where_bins_are_rare() -> None:
    filters = spectrogram.mel_filters(128, 256, 8000)
    assert (filters.sum(1) > 0).all() and filters.max() <= 1.0


@pytest.mark.parametrize("hz", [300.0, 1000.0, 5000.0])
def test_a_tone_is_brightest_in_its_own_channel(hz: float) -> None:
    tone = np.sin(2 * np.pi * hz * np.arange(16000) / 16000).astype(np.float32)
    mel = spectrogram.log_mel(tone, 16000, num_columns=100, hop_s=0.01)
    centres = np.linspace(spectrogram.hz_to_mel(60.0), spectrogram.hz_to_mel(8000.0), mel.shape[1] + 2)[1:-1]
    expected = int(np.abs(centres - spectrogram.hz_to_mel(hz)).argmin())
    assert abs(int(mel[50].argmax()) - expected) <= 1


@pytest.mark.parametrize("second", [0.1, 0.505, 0.93])
def test_a_click_is_brightest_in_the_column_of_its_time(second: float) -> None:
    samples = np.zeros(16000, np.float32)
    samples[round(second * 16000)] = 1.0
    mel = spectrogram.log_mel(samples, 16000, num_columns=100, hop_s=0.01)
    assert abs(int(mel.mean(1).argmax()) - int(second * 100)) <= 1


def test_blocks_do_not_show() -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(16000 * 45).astype(np.float32)
    mel = spectrogram.log_mel(samples, 16000, num_columns=4500, hop_s=0.01)
    late = spectrogram.log_mel(samples[16000 * 40 :], 16000, num_columns=500, hop_s=0.01)
    np.testing.assert_allclose(mel[4010:4490], late[10:490], atol=1e-3)


def test_a_constant_offset_is_not_drawn() -> None:
    rng = np.random.default_rng(0)
    samples = (0.01 * rng.standard_normal(8000)).astype(np.float32)
    plain = spectrogram.log_mel(samples, 16000, num_columns=50, hop_s=0.01)
    offset = spectrogram.log_mel(samples + 0.5, 16000, num_columns=50, hop_s=0.01)
    np.testing.assert_allclose(offset[5:-5], plain[5:-5], atol=0.1)


def test_the_picture_has_high_frequencies_on_top_and_survives_silence() -> None:
    mel = np.full((30, 8), -60.0, np.float32)
    mel[:, 7] = 0.0
    pixels, palette = decode(spectrogram.picture(mel))
    assert pixels.shape == (8, 30) and len(palette) == 256
    assert pixels[0].min() == 255 and pixels[-1].max() < 80
    silence = spectrogram.log_mel(np.zeros(1600, np.float32), 16000, num_columns=10, hop_s=0.01)
    assert np.isfinite(silence).all() and decode(spectrogram.picture(silence))[0].shape == (64, 10)
