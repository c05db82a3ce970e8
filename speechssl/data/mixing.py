"""WavLM's mixtures (arXiv:2110.13900, algorithm 1): a part of another utterance, or of noise, is added to an utterance.

Labels stay those of the utterance, the primary one, which goes on through the whole mixture.

B utterances, S samples.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechssl.errors import ConfigError


@dataclass(frozen=True)
class Mixing:
    """How often and how loud."""

    share: float = 0.2  # p: of utterances that become mixtures
    noise_share: float = 0.1  # p_n: of mixtures with noise, where there is noise
    speech_db: tuple[float, float] = (-5.0, 5.0)  # r: energy of the primary over that of the secondary utterance
    noise_db: tuple[float, float] = (-5.0, 20.0)
    longest: float = 0.5  # of the mixed part, as a share of the primary utterance

    def __post_init__(self) -> None:
        """Refuse what is no share or range."""
        if not all(0 <= x <= 1 for x in (self.share, self.noise_share, self.longest)):
            raise ConfigError(f"mixing: share, noise_share and longest must be in 0..1, got {self}")
        if self.speech_db[0] > self.speech_db[1] or self.noise_db[0] > self.noise_db[1]:
            raise ConfigError(f"mixing: a range of decibels begins with the lower one, got {self}")


def mix_batch(
    wav: Tensor, lengths: Tensor, seeds: Tensor, settings: Mixing, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """wav [B, S] with some utterances mixed, and which, [B] bool. noise: one recording [S'].

    What is drawn for an utterance comes from its seed; a secondary utterance from anywhere in the batch, itself
    included, as in the paper. Real samples of it only are used, and padding is left as it is.
    differs: the paper's utterances are equally long; here the mixed part is no longer than the secondary one either.
    """
    mixed = wav.clone()
    chosen = lengths.new_zeros(len(lengths), dtype=bool)
    counts = lengths.tolist()
    for row, (count, seed) in enumerate(zip(counts, seeds.tolist(), strict=True)):
        random = np.random.default_rng((seed, 11))
        if random.random() >= settings.share or count < 2:
            continue
        if noise is not None and random.random() < settings.noise_share:
            secondary, decibels = noise, random.uniform(*settings.noise_db)
        else:
            other = int(random.integers(len(counts)))
            secondary, decibels = wav[other, : counts[other]], random.uniform(*settings.speech_db)
        most = min(int(count * settings.longest), len(secondary))
        if most < 1:
            continue
        size = int(random.integers(1, most + 1))
        start, from_ = (int(random.integers(n - size + 1)) for n in (count, len(secondary)))
        mixed[row, start : start + size] += (
            mixing_scale(wav[row, :count], secondary, decibels) * secondary[from_:][:size]
        )
        chosen[row] = True
    return mixed, chosen


def mixing_scale(primary: Tensor, secondary: Tensor, decibels: float) -> Tensor:
    """The factor that brings secondary [S'] `decibels` below the mean energy of primary [S]; 0 where it is silent."""
    energy, other = (x.double().square().mean() for x in (primary, secondary))
    scale = (energy / (10 ** (decibels / 10) * other)).sqrt()
    return torch.where(other > 0, scale, 0).to(primary.dtype)
