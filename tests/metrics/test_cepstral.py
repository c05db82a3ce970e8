"""Mel-cepstral distortion: cepstra give the spectrum back, the distance by hand, the warp against all warps."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.errors import DataError
from speechssl.metrics import cepstral
from speechssl.metrics.cepstral import align, distortion, mel_bands, mel_cepstra, straight


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, count)


def test_cepstra_are_librosas_up_to_their_scale() -> None:
    """librosa's orthonormal DCT-II of the same log bands is sqrt(M / 2) as large."""
    librosa = pytest.importorskip("librosa")
    wave = noise(3200)
    magnitudes = cepstral._frames(wave, 16000) @ mel_bands(16000, 80)
    logs = np.log(np.maximum(magnitudes, 1e-3 * magnitudes.max()))
    expected = librosa.feature.mfcc(S=logs.T, n_mfcc=25, norm="ortho").T[:, 1:] * np.sqrt(2 / 80)
    np.testing.assert_allclose(mel_cepstra(wave, 16000), expected, atol=1e-10)


def test_filters_are_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(sr=16000, n_fft=1024, n_mels=80, htk=True, norm=None, dtype=np.float64)
    np.testing.assert_allclose(mel_bands(16000, 80).T, expected, atol=0.035)  # straight in hertz there, in mels here


def test_with_all_coefficients_the_distortion_is_the_rms_difference_of_bands_in_db() -> None:
    one, other = noise(400), noise(400, 1)
    cepstra = [mel_cepstra(wave, 16000, order=79) for wave in (one, other)]
    decibels = []
    for wave in (one, other):
        magnitudes = cepstral._frames(wave, 16000) @ mel_bands(16000, 80)
        decibels.append(20 * np.log10(np.maximum(magnitudes, 1e-3 * magnitudes.max())))
    difference = decibels[0] - decibels[1]
    expected = np.sqrt(np.square(difference - difference.mean(1, keepdims=True)).mean(1)).mean()
    assert distortion(*cepstra) == pytest.approx(expected, rel=1e-9)


def test_the_distortion_by_hand() -> None:
    one, other = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[1.0, 5.0], [0.0, 4.0]])
    assert distortion(one, other) == pytest.approx(10 / np.log(10) * np.sqrt(2) * (3 + 4) / 2)
    assert distortion(one, one) == 0


def test_loudness_changes_nothing_and_frames_cover_the_recording() -> None:
    wave = noise(1601)
    np.testing.assert_allclose(mel_cepstra(wave, 16000), mel_cepstra(0.1 * wave, 16000), atol=1e-9)
    assert [len(mel_cepstra(wave[:count], 16000)) for count in (0, 1, 160, 161, 1601)] == [0, 1, 1, 2, 11]


def test_a_frame_is_centred_in_the_middle_of_its_ten_milliseconds() -> None:
    wave = np.zeros(1600)  # a window of 400 has no middle sample: half a one to the left
    wave[5 * 160 + 80] = 1.0
    energy = np.square(cepstral._frames(wave, 16000)).sum(1)
    assert energy.argmax() == 5 and energy[4] == pytest.approx(energy[6], rel=0.15)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_warp_is_the_best_of_all(rows: int, columns: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.integers(0, 4, (rows, 2)).astype(float), random.integers(0, 4, (columns, 2)).astype(float)
    costs = np.sqrt(np.square(one[:, None] - other).sum(2))

    @cache
    def best(i: int, j: int) -> float:
        if i == 0 and j == 0:
            return costs[0, 0]
        before = [best(a, b) for a, b in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if a >= 0 and b >= 0]
        return costs[i, j] + min(before)

    found = align(one, other)
    steps = np.diff(np.stack([found.one, found.other], 1), axis=0)
    assert (found.one[0], found.other[0], found.one[-1], found.other[-1]) == (0, 0, rows - 1, columns - 1)
    assert {tuple(step) for step in steps.tolist()} <= {(0, 1), (1, 0), (1, 1)}
    assert costs[found.one, found.other].sum() == pytest.approx(best(rows - 1, columns - 1), abs=1e-9)


def test_a_recording_and_its_slow_half_are_aligned() -> None:
    one = mel_cepstra(noise(3200), 16000)
    slow = np.repeat(one, 2, axis=0)
    found = align(one, slow)
    assert distortion(one[found.one], slow[found.other]) == pytest.approx(0, abs=1e-6)
    assert straight(3, 5).other.tolist() == [0, 1, 2]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="aligned"):
        align(np.zeros((0, 2)), np.zeros((1, 2)))
    with pytest.raises(DataError, match="as many"):
        distortion(np.zeros((1, 2)), np.zeros((2, 2)))
    with pytest.raises(DataError, match="some"):
        distortion(np.zeros((0, 2)), np.zeros((0, 2)))
