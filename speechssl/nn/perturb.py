"""Other voices, rooms and noises, made of log-mel frames in training, so that what is learned does not depend on them.

A warp of the frequency axis stands for another vocal tract (VTLP, Jaitly & Hinton, "Vocal tract length perturbation
improves speech recognition", ICML WDLASL 2013), a smooth random gain for another microphone, coloured noise for
another room. None of them moves anything in time, so frames keep their labels.

B utterances, T mel frames, M mel channels.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.errors import ConfigError
from speechssl.nn.mel import hertz_to_mel, mel_to_hertz

_LOG_PER_DB = math.log(10) / 10  # natural logarithm of power
_STREAM = 13  # beside other draws from the same seeds
_GAIN_KNOTS, _NOISE_KNOTS = 6, 5  # of the curves over the mel axis
_NOISE_COLOUR_DB, _NOISE_TILT_DB, _NOISE_JITTER_DB = 6.5, 13.0, 2.6  # spread of a noise's curve, fall, and flicker


@dataclass(frozen=True)
class Perturbation:
    """How much an utterance is changed; nothing by default."""

    warp: float = 0.0  # largest |ln α|, α the factor of all frequencies
    gain_db: float = 0.0  # standard deviation of the gain at each knot
    noise_share: float = 0.0  # of utterances that get noise
    snr_db: tuple[float, float] = (5.0, 30.0)

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not 0 <= self.warp < 1 or not 0 <= self.gain_db < 100 or not 0 <= self.noise_share <= 1:
            raise ConfigError(f"perturb needs warp and noise_share in 0..1 and gain_db in 0..100, got {self}")
        if self.snr_db[0] > self.snr_db[1]:
            raise ConfigError(f"perturb: snr_db begins with the lower one, got {self.snr_db}")

    @property
    def active(self) -> bool:
        """Whether anything is changed."""
        return max(self.warp, self.gain_db, self.noise_share) > 0


def perturb(mel: Tensor, lengths: Tensor, seeds: Tensor, settings: Perturbation, *, sample_rate: int) -> Tensor:
    """mel [B, T, M], natural logarithm of power, of another voice, microphone and room; lengths [B] real frames.

    What is drawn for an utterance comes from its seed [B], on the CPU. Frames behind an utterance's end mean nothing.
    """
    return torch.stack([
        _perturb_one(row, length, np.random.default_rng((seed, _STREAM)), settings, sample_rate)
        for row, length, seed in zip(mel, lengths.tolist(), seeds.tolist(), strict=True)
    ])  # fmt: skip


def warp_frequencies(mel: Tensor, factor: float, *, sample_rate: int) -> Tensor:
    """Channel f of mel [T, M] becomes what channel factor * f was, with interpolation between channels.

    Centres are those of `nn.mel.mel_filters`; beyond the outer channels the outer ones stay.
    """
    num_mels = mel.shape[1]
    step = hertz_to_mel(torch.tensor(sample_rate / 2, dtype=torch.float64)) / (num_mels + 1)
    centres = torch.arange(1, num_mels + 1, dtype=torch.float64) * step
    place = (hertz_to_mel(mel_to_hertz(centres) * factor) / step - 1).clamp(0, num_mels - 1).to(mel.device)
    below = place.floor().long().clamp_max(max(0, num_mels - 2))
    share = (place - below).to(mel.dtype)
    return torch.lerp(mel[:, below], mel[:, (below + 1).clamp_max(num_mels - 1)], share)


def _perturb_one(
    mel: Tensor, length: int, random: np.random.Generator, settings: Perturbation, sample_rate: int
) -> Tensor:
    # everything is drawn, needed or not, so that one setting does not change what another draws
    factor = math.exp(random.uniform(-settings.warp, settings.warp))
    gain = _curve(random.standard_normal(_GAIN_KNOTS) * settings.gain_db, mel)
    noisy = random.random() < settings.noise_share
    snr_db = random.uniform(*settings.snr_db)
    colour = _curve(random.standard_normal(_NOISE_KNOTS) * _NOISE_COLOUR_DB, mel)
    colour = colour - _curve(np.array([0.0, random.random() * _NOISE_TILT_DB]), mel)
    if settings.warp:
        mel = warp_frequencies(mel, factor, sample_rate=sample_rate)
    mel = mel + gain
    if noisy and length:
        power_db = mel[:length].exp().mean().log() / _LOG_PER_DB
        level_db = power_db - snr_db - colour.exp().mean().log() / _LOG_PER_DB
        flicker = torch.from_numpy(random.standard_normal(tuple(mel.shape)).astype(np.float32)).to(mel)
        mel = torch.logaddexp(mel, (level_db + _NOISE_JITTER_DB * flicker) * _LOG_PER_DB + colour)
    return mel


def _curve(knots_db: np.ndarray, mel: Tensor) -> Tensor:
    """A broken line [M] through equally spaced knots, natural logarithm of power."""
    knots = torch.from_numpy(knots_db * _LOG_PER_DB).to(mel)
    return F.interpolate(knots[None, None], size=mel.shape[1], mode="linear", align_corners=True)[0, 0]
