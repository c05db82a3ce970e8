"""Noise under whole utterances of a batch: what a decoder of clean mels is shown in place of the clean recording.

Either coloured noise, of which no recording is needed, or babble: another utterance of the batch, repeated. Unlike
`data.mixing` (WavLM's), it goes on for the whole utterance.

B utterances, S samples.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechssl.data.mixing import mixing_scale
from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Noise:
    """How often, how loud, and of which kind."""

    share: float = 0.8  # of utterances that get any
    babble_share: float = 0.3  # of those, with another utterance in place of coloured noise
    snr_db: tuple[float, float] = (0.0, 20.0)  # energy of the utterance over that of the noise
    slope: tuple[float, float] = (0.0, 2.0)  # of coloured noise: power falls with f^-slope, 0 white, 1 pink, 2 brown

    def __post_init__(self) -> None:
        """Refuse what is no share or range."""
        if not (0 <= self.share <= 1 and 0 <= self.babble_share <= 1):
            raise ConfigError(f"noise: share and babble_share must be in 0..1, got {self}")
        if self.snr_db[0] > self.snr_db[1] or self.slope[0] > self.slope[1]:
            raise ConfigError(f"noise: a range begins with the lower number, got {self}")


def noisy_batch(wav: Tensor, lengths: Tensor, seeds: Tensor, settings: Noise) -> Tensor:
    """wav [B, S] of lengths [B] with noise; padding is left as it is.

    What is drawn for an utterance comes from its seed; whose babble it is depends on the batch, as in `mixing`. Never
    is it of the utterance itself: in a batch of one, and beside empty ones, noise is coloured in its place.
    """
    noisy, counts = wav.clone(), lengths.tolist()
    for row, (count, seed) in enumerate(zip(counts, seeds.tolist(), strict=True)):
        random = np.random.default_rng((seed, 13))
        if random.random() >= settings.share or count < 1:
            continue
        babble, decibels = random.random() < settings.babble_share, random.uniform(*settings.snr_db)
        other = (row + 1 + int(random.random() * (len(counts) - 1))) % len(counts)
        if babble and other != row and counts[other] > 0:
            spoken = wav[other, : counts[other]].roll(-int(random.integers(counts[other])))
            added = spoken.repeat(-(-count // len(spoken)))[:count]
        else:
            drawn = coloured(count, random.uniform(*settings.slope), random)
            added = torch.from_numpy(drawn).to(wav)
        noisy[row, :count] += mixing_scale(wav[row, :count], added, decibels) * added
    return noisy


def coloured(count: int, slope: float, random: np.random.Generator) -> "np.typing.NDArray[np.float32]":
    """Noise [count] whose power falls with f^-slope, without a mean; for one sample it is 0."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    frequencies = np.arange(len(spectrum), dtype=np.float64)
    frequencies[0] = np.inf
    made = np.fft.irfft(spectrum * frequencies ** (-slope / 2) * (frequencies < np.inf), count)
    return made.astype(np.float32)
