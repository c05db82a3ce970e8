"""Masks of spans whose starts are drawn frame by frame, as in vq-wav2vec's BERT (arXiv:1910.05453, section 4) and
BEST-RQ (arXiv:2202.01855, section 4.1). `nn.masking` has those of wav2vec 2.0, which draws a fixed number of starts.

B utterances, T frames. mask: True = replaced.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechssl.errors import ConfigError


@dataclass(frozen=True)
class StartMask:
    """How spans are drawn."""

    start: float = 0.05  # probability of a frame to begin a span
    span: int = 10  # frames

    def __post_init__(self) -> None:
        """Refuse what masks nothing."""
        if not 0 < self.start <= 1 or self.span < 1:
            raise ConfigError(f"a mask needs 0 < start <= 1 and span >= 1, got {self}")

    @property
    def expected(self) -> float:
        """The share of a long utterance's frames that is masked: none of `span` frames may have begun a span."""
        return 1 - (1 - self.start) ** self.span


def start_mask(settings: StartMask, lengths: Tensor, num_frames: int, seeds: Tensor) -> Tensor:
    """[B, num_frames] bool on the device of `lengths` [B] (real frames); seeds [B] int64.

    Spans may overlap, and end with the utterance at the latest. There may be none, and all frames may be masked.
    """
    mask = np.zeros((len(lengths), num_frames), dtype=bool)
    for row, length, seed in zip(mask, lengths.tolist(), seeds.tolist(), strict=True):
        begins = np.random.default_rng(seed).random(length) < settings.start
        for start in np.flatnonzero(begins):
            row[start : min(start + settings.span, length)] = True
    return torch.from_numpy(mask).to(lengths.device)
