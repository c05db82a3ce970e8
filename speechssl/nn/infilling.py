"""Text infilling, the noise of BART and mBART (arXiv:1910.13461, arXiv:2001.08210), on units.

Spans of Poisson length are taken out, each with one mask in its place, so that a model must find out how much is
missing; a span of length 0 is a mask where nothing is missing.

differs: exactly the share, rounded up, is taken out, by spans that do not overlap, every arrangement of theirs as
likely as any other (fairseq's begin at different places and may overlap, so that a little less is masked). mBART also
permutes the sentences of an instance: here an instance is one utterance.

B utterances, T units. A mask is -1, which `nn.unit_input` knows as one.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl.errors import ConfigError

MASK = -1


@dataclass(frozen=True)
class Infilling:
    """How much is taken out. Defaults: mBART's. After each field: its name in fairseq's options."""

    share: float = 0.35  # mask; of an utterance's units, rounded up
    span: float = 3.5  # poisson_lambda, λ; the mean of a span's length

    def __post_init__(self) -> None:
        """Refuse what is no share or hardly ever takes anything."""
        if not 0 <= self.share <= 1 or not 0.5 <= self.span <= 1000:
            raise ConfigError(f"infilling needs 0 <= share <= 1 and 0.5 <= span <= 1000, got {self}")


def infill(units: np.ndarray, settings: Infilling, random: np.random.Generator) -> np.ndarray:
    """Units [T] with masks in place of spans, [T'] int64."""
    sizes = _sizes(math.ceil(settings.share * len(units) - 1e-9), settings.span, random)
    count = len(sizes)
    length = len(units) - int(sizes.sum()) + count
    places = np.sort(random.choice(length, count, replace=False))  # of masks in what is given back
    starts = places - np.arange(count) + np.cumsum(sizes) - sizes  # of spans in units: what is left and what was taken
    kept, shown = np.ones(len(units), bool), np.ones(length, bool)
    for start, size in zip(starts, sizes, strict=True):
        kept[start : start + size] = False
    shown[places] = False
    noised = np.full(length, MASK, np.int64)
    noised[shown] = units[kept]
    return noised


def _sizes(left: int, mean: float, random: np.random.Generator) -> np.ndarray:
    """Lengths of spans, `left` in all: the last is cut."""
    found = []
    while left:
        found.append(min(int(random.poisson(mean)), left))
        left -= found[-1]
    return np.array(found, dtype=np.int64)


def infilled(units: Tensor, lengths: Tensor, settings: Infilling, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """Units [B, T] of lengths [B] with spans taken out, padded with -1, and their lengths; on the device of `units`.

    What is taken out of an utterance follows from its seed, seeds [B], alone.
    """
    rows = [
        torch.from_numpy(infill(row[:length], settings, np.random.default_rng(seed)))
        for row, length, seed in zip(units.cpu().numpy(), lengths.tolist(), seeds.tolist(), strict=True)
    ]
    noised = pad_sequence(rows, batch_first=True, padding_value=MASK)
    return noised.to(units.device), torch.tensor([len(row) for row in rows], device=units.device)
