"""The synthesiser of the offline demo: it is no speech, but its spectra are where they should be."""

import numpy as np
import pytest

from speechssl.report import synthesis

RATE = synthesis.SAMPLE_RATE


def spectrum_of(phone: str) -> np.ndarray:
    spoken = synthesis.speak("x", f"{phone} {phone} {phone} {phone}", rng=np.random.default_rng(0))
    start, end = spoken.phones[2][0], spoken.phones[3][1]
    return np.abs(np.fft.rfft(spoken.samples[round(start * RATE) : round(end * RATE)], RATE)) ** 2  # 1 Hz per bin


@pytest.mark.parametrize("vowel", ["IY", "AA", "UW", "EH"])
def test_a_vowel_has_its_first_two_formants(vowel: str) -> None:
    power = np.convolve(spectrum_of(vowel), np.ones(150) / 150, mode="same")  # over the harmonics
    first, second = synthesis.PHONES[vowel].formants[:2]
    valley = power[(first + second) // 2]
    assert power[first] > 1.5 * valley and power[second] > 1.5 * valley


def test_s_is_high_and_a_is_low() -> None:
    low, high = (lambda p: p[100:3000].sum()), (lambda p: p[4500:8000].sum())
    hiss, vowel = spectrum_of("S"), spectrum_of("AA")
    assert high(hiss) > 10 * low(hiss) and low(vowel) > 10 * high(vowel)


def test_sentences_are_the_same_every_time_and_differ_from_each_other() -> None:
    first, second = synthesis.sentences(8), synthesis.sentences(8)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)
    assert len({s.samples.tobytes() for s in first}) == 8
    for sentence in first:
        assert sentence.samples.dtype == np.float32 and 0.3 < np.abs(sentence.samples).max() < 1.0


def test_phones_cover_the_sentence_without_a_gap() -> None:
    for sentence in synthesis.sentences(6):
        starts, ends, names = zip(*sentence.phones, strict=True)
        assert starts[0] == 0.0 and starts[1:] == ends[:-1]
        assert round(ends[-1] * RATE) == len(sentence.samples)
        assert names[0] == names[-1] == "SIL" and set(names) <= set(synthesis.PHONES)
