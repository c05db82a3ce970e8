"""Recordings changed in ways that do not alter what is said: the transformations of arXiv:2209.15483.

Time stretch and pitch shift are librosa's phase vocoder, reverberation is of a drawn room (`audio.room`), noise is
white or of a recording. In this order, as in a real room; a telephone line (`audio.telephone`) comes last. All but the
stretch keep the timing.

S samples.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechssl.audio.room import draw_room, impulse_response
from speechssl.audio.telephone import Line, telephone
from speechssl.errors import ConfigError

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """What is done; nothing by default."""

    stretch: float = 1.0  # how many times as fast
    pitch: float = 0.0  # semitones
    rt60_s: float = 0.0  # reverberation time
    snr_db: float = math.inf  # of speech over noise, both over the whole recording
    telephone: Line = "none"
    packet_loss: float = 0.0  # share of the telephone line's packets that are lost

    def __post_init__(self) -> None:
        """Refuse what nobody could hear as speech."""
        if not 0 <= self.packet_loss < 1 or (self.packet_loss and self.telephone == "none"):
            raise ConfigError(f"packet_loss={self.packet_loss}: a share below 1 of what a telephone line carries")
        if not 0.25 <= self.stretch <= 4 or not abs(self.pitch) <= 24 or self.rt60_s < 0 or math.isnan(self.snr_db):
            raise ConfigError(f"stretch must be in 0.25..4, pitch in -24..24 semitones, rt60_s >= 0, got {self}")


@dataclass(frozen=True)
class Drawing:
    """How recordings change at random in training: each kind for a share of them, its strength anywhere in a range.

    The kinds are those of arXiv:2209.15483, and telephone lines; shares and ranges are chosen.
    """

    share: float = 0.5  # of recordings, for each kind on its own
    stretch: tuple[float, float] = (0.8, 1.25)  # [1, 1]: not stretched
    pitch: tuple[float, float] = (-4.0, 4.0)  # [0, 0]: not shifted
    rt60_s: tuple[float, float] = (0.1, 0.6)  # [0, 0]: no room
    snr_db: tuple[float, float] = (5.0, 20.0)  # [inf, inf]: no noise
    telephone: tuple[Line, ...] = ()  # one of these lines, each as often; none of it by default
    telephone_share: float = 1.0  # of recordings
    packet_loss: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        ranges = (self.stretch, self.pitch, self.rt60_s, self.snr_db)
        if not 0 <= self.share <= 1 or any(not low <= high for low, high in ranges):
            raise ConfigError(f"share must be in 0..1, and a range begins with its lower end, got {self}")
        if math.isinf(self.snr_db[0]) != math.isinf(self.snr_db[1]):
            raise ConfigError("snr_db: give two numbers, or [inf, inf] for no noise")
        for values in zip(*ranges, strict=True):
            Augmentation(*values)
        loss = self.packet_loss
        if not 0 <= self.telephone_share <= 1 or not 0 <= loss[0] <= loss[1] < 1 or (loss[1] and not self.telephone):
            raise ConfigError(f"telephone_share is in 0..1, packet_loss a range in 0..1 of a telephone, got {self}")

    def draw(self, random: np.random.Generator) -> Augmentation:
        """What is done to one recording."""
        chosen = random.random(4) < self.share
        stretch, pitch, rt60_s, snr_db = (
            low if low == high else float(random.uniform(low, high))
            for low, high in (self.stretch, self.pitch, self.rt60_s, self.snr_db)
        )
        line, loss = self._line(random)
        return Augmentation(
            stretch if chosen[0] else 1.0, pitch if chosen[1] else 0.0, rt60_s if chosen[2] else 0.0,
            snr_db if chosen[3] else math.inf, line, loss,
        )  # fmt: skip

    def _line(self, random: np.random.Generator) -> tuple[Line, float]:
        """A telephone line and its loss; nothing is drawn where there is none, so that other draws stay."""
        if not self.telephone or random.random() >= self.telephone_share:
            return "none", 0.0
        line = self.telephone[int(random.integers(len(self.telephone)))]
        return line, 0.0 if line == "none" else float(random.uniform(*self.packet_loss))


def augment(
    samples: FloatArray, sample_rate: int, settings: Augmentation, random: np.random.Generator,
    noise: FloatArray | None = None,
) -> FloatArray:  # fmt: skip
    """samples [S] changed, float32: [S], or about S / stretch. noise: a recording at the same rate, white without it.

    Scaled down where it would clip. ConfigError where librosa is needed and not there.
    """
    if len(samples) and settings.stretch != 1:
        samples = _librosa().effects.time_stretch(samples, rate=settings.stretch)
    if len(samples) and settings.pitch:
        samples = _librosa().effects.pitch_shift(samples, sr=sample_rate, n_steps=settings.pitch)
    if settings.rt60_s:
        samples = reverberate(samples, impulse_response(draw_room(random), settings.rt60_s, sample_rate))
    if settings.snr_db < math.inf:
        samples = add_noise(samples, noise, settings.snr_db, random)
    if settings.telephone != "none":
        samples = telephone(_unclipped(samples), sample_rate, settings.telephone, random, settings.packet_loss)
    return _unclipped(samples)


def _unclipped(samples: FloatArray) -> FloatArray:
    peak = float(np.abs(samples).max(initial=0))
    return (samples / max(1.0, peak)).astype(np.float32)


def reverberate(samples: FloatArray, response: NDArray[np.float64]) -> FloatArray:
    """samples [S] in a room, as loud as before (equal energy), without the tail behind the recording's end."""
    size = 1 << max(1, len(samples) + len(response) - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    energy = float(np.square(wet).sum())
    scale = math.sqrt(float(np.square(samples, dtype=np.float64).sum()) / energy) if energy else 0.0
    return (wet * scale).astype(np.float32)


def add_noise(samples: FloatArray, noise: FloatArray | None, snr_db: float, random: np.random.Generator) -> FloatArray:
    """samples [S] with noise at this ratio of energies; a recording of noise begins anywhere and is repeated."""
    if noise is None:
        added = random.standard_normal(len(samples))
    elif not len(noise):
        raise ConfigError("the recording of noise has no samples")
    else:
        start = int(random.integers(len(noise)))
        added = np.resize(np.roll(noise, -start), len(samples)).astype(np.float64)
    energy, wanted = float(np.square(added).sum()), float(np.square(samples, dtype=np.float64).sum())
    scale = math.sqrt(wanted / energy * 10 ** (-snr_db / 10)) if energy else 0.0
    return (samples + scale * added).astype(np.float32)


def _librosa() -> Any:
    try:
        import librosa
    except ImportError:
        raise ConfigError("time stretch and pitch shift need librosa: pip install 'speechssl[augment]'") from None
    return librosa
