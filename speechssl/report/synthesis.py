"""Synthetic sentences for a machine without recordings and without a network: a small source-filter synthesiser.

The source (glottal pulses, noise or both) is shaped frame by frame with the formants of the phones, after
G. Fant, Acoustic Theory of Speech Production, 1960, and D. Klatt, JASA 67(3), 1980 (formant values rounded from the
latter and from Peterson and Barney, JASA 24(2), 1952). differs: filtering by overlap-add of short spectra, not by
cascaded recursive resonators; good enough to look at, labelled synthetic wherever it is shown.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000
_HOP, _WINDOW = 80, 320


@dataclass(frozen=True)
class Phone:
    """Targets of one sound: formants in Hz, voicing and noise amplitudes, noise centre and width in Hz, seconds."""

    formants: tuple[int, int, int] = (500, 1500, 2500)
    voice: float = 0.0
    noise: float = 0.0
    centre: int = 4000
    width: int = 2000
    seconds: float = 0.09


@dataclass(frozen=True)
class Sentence:
    """Samples [S] float32 at 16 kHz, the words, and the phones as (start_s, end_s, label)."""

    samples: NDArray[np.float32]
    text: str
    phones: tuple[tuple[float, float, str], ...]


_VOICED = {  # formants in Hz, seconds
    "IY": (280, 2250, 2900, 0.11), "IH": (400, 1950, 2550, 0.08), "EH": (540, 1830, 2480, 0.11),
    "AE": (670, 1700, 2400, 0.13), "AA": (730, 1100, 2450, 0.14), "AO": (580, 850, 2420, 0.14),
    "AH": (620, 1200, 2400, 0.08), "UH": (450, 1050, 2250, 0.08), "UW": (310, 900, 2250, 0.11),
    "ER": (480, 1350, 1700, 0.11), "EY": (430, 2050, 2650, 0.13), "OW": (460, 900, 2350, 0.14),
    "W": (290, 650, 2200, 0.07), "Y": (260, 2200, 3000, 0.06), "R": (330, 1100, 1500, 0.07),
}  # fmt: skip
PHONES = {
    **{name: Phone((f1, f2, f3), voice=1.0, seconds=seconds) for name, (f1, f2, f3, seconds) in _VOICED.items()},
    "SIL": Phone(seconds=0.14),
    "L": Phone((340, 1050, 2800), voice=0.7, seconds=0.07),
    "M": Phone((250, 1000, 2200), voice=0.45, seconds=0.08),
    "N": Phone((250, 1600, 2500), voice=0.45, seconds=0.07),
    "S": Phone(noise=0.30, centre=6200, width=2200, seconds=0.12),
    "Z": Phone((250, 1500, 2500), voice=0.3, noise=0.2, centre=6200, width=2200, seconds=0.09),
    "SH": Phone(noise=0.32, centre=3300, width=1700, seconds=0.12),
    "F": Phone(noise=0.12, centre=5500, width=5000, seconds=0.10),
    "HH": Phone(noise=0.12, centre=1500, width=2500, seconds=0.06),
    "D": Phone((250, 1700, 2600), voice=0.2, noise=0.10, centre=4200, width=2500, seconds=0.05),
    "T": Phone(noise=0.22, centre=4500, width=2500, seconds=0.04),
    "K": Phone(noise=0.20, centre=2000, width=1200, seconds=0.05),
    "G": Phone((250, 1800, 2400), voice=0.2, noise=0.10, centre=2000, width=1200, seconds=0.05),
}
SENTENCES = (
    ("we were away a year ago", "W IY W ER AH W EY AH Y IH R AH G OW"),
    ("she saw a sea of ice", "SH IY S AO AH S IY AH F AA IY S"),
    ("all my money is in a loan", "AO L M AA IY M AH N IY IH Z IH N AH L OW N"),
    ("he knew you as a young man", "HH IY N UW Y UW AE Z AH Y AH N M AE N"),
    ("a shy fellow sells real shoes", "AH SH AA IY F EH L OW S EH L Z R IY L SH UW Z"),
    ("some seals hear a lion roar", "S AH M S IY L Z HH IY R AH L AA IY AH N R AO R"),
)


def sentences(count: int, seed: int = 0) -> list[Sentence]:
    """`count` different sentences (the same words return with another voice), deterministic for a seed."""
    rng = np.random.default_rng(seed)
    return [speak(*SENTENCES[i % len(SENTENCES)], rng=rng, pitch_hz=115 + 40 * (i % 3)) for i in range(count)]


def speak(text: str, phones: str, *, rng: np.random.Generator, pitch_hz: float = 120.0) -> Sentence:
    """One sentence from space-separated phones of `PHONES`, with falling pitch and slightly varied durations."""
    names = ["SIL", *phones.split(), "SIL"]
    hops = [max(2, round(PHONES[n].seconds * rng.uniform(0.85, 1.2) * SAMPLE_RATE / _HOP)) for n in names]
    tracks = np.repeat([_targets(PHONES[n]) for n in names], hops, axis=0)
    for column in range(tracks.shape[1]):  # articulators move: 35 ms of smoothing, less for the burst of a stop
        width = 7 if column < 3 else 3
        edges = np.pad(tracks[:, column], width // 2, mode="edge")
        tracks[:, column] = np.convolve(edges, np.ones(width) / width, mode="valid")
    samples = _render(tracks, pitch_hz, rng)
    ends = np.cumsum(hops) * _HOP / SAMPLE_RATE
    starts = np.concatenate(([0.0], ends[:-1]))
    return Sentence(samples, text, tuple(zip(starts.tolist(), ends.tolist(), names, strict=True)))


def _targets(phone: Phone) -> list[float]:
    return [*phone.formants, phone.voice, phone.noise, phone.centre, phone.width]


def _render(tracks: NDArray[np.float64], pitch_hz: float, rng: np.random.Generator) -> NDArray[np.float32]:
    num = len(tracks) * _HOP
    progress = np.arange(num) / num
    pitch = pitch_hz * (1.12 - 0.3 * progress + 0.04 * np.sin(2 * np.pi * 3 * progress)) * rng.uniform(0.97, 1.03)
    phase = np.cumsum(pitch) / SAMPLE_RATE
    pulses = np.diff(np.floor(phase), prepend=0.0)  # one sample per glottal closure; the -12 dB/octave tilt comes below
    hiss = rng.standard_normal(num)

    hz = np.fft.rfftfreq(2 * _WINDOW, 1 / SAMPLE_RATE)
    formants = tracks[:, :3]
    f4 = np.full((len(tracks), 1), 3500.0)
    response = np.ones((len(tracks), len(hz)), complex)
    for centre, width in zip(np.hstack([formants, f4]).T, (60, 90, 120, 200), strict=True):
        pole = -np.pi * width + 2j * np.pi * centre[:, None]
        s = 2j * np.pi * hz
        response *= np.abs(pole) ** 2 / ((s - pole) * (s - pole.conj()))
    tilt = 1 / (1 + (hz / 500) ** 2) ** 0.5 * (hz > 50)
    noise_shape = np.exp(-0.5 * ((hz - tracks[:, 5:6]) / (tracks[:, 6:7] / 2)) ** 2)

    padded = [np.pad(source, _WINDOW) for source in (pulses, hiss)]
    out = np.zeros(num + 4 * _WINDOW)
    taper = np.hanning(_WINDOW + 1)[:-1] * (2 * _HOP / _WINDOW)
    for k, track in enumerate(tracks):
        at = k * _HOP + _HOP // 2 + _WINDOW // 2
        voiced, noisy = (np.fft.rfft(source[at : at + _WINDOW] * taper, 2 * _WINDOW) for source in padded)
        spectrum = 6.0 * track[3] * voiced * response[k] * tilt + 0.25 * track[4] * noisy * noise_shape[k]
        out[at : at + 2 * _WINDOW] += np.fft.irfft(spectrum)
    speech = out[_WINDOW : _WINDOW + num] + 2e-4 * hiss  # a little room noise: digital zero is no recording
    return (0.5 * speech / np.abs(speech).max()).astype(np.float32)
