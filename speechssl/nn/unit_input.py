"""Discrete units as an input: embeddings in place of a front end's frames, and what keeps a model from knowing them by
heart.

Of several streams (codebooks) the embeddings are summed. In training spans of frames and of channels are masked and
Gaussian noise is added, three of the augmentations that arXiv:2309.07377 (section 3.2) has for zipformers over units.

B utterances, T frames, G streams, C channels, V units.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError, DataError
from speechssl.nn.lengths import valid_mask
from speechssl.nn.masking import SpanMask, channel_mask, span_mask


@dataclass(frozen=True)
class Augmentation:
    """What happens to embeddings in training."""

    time: SpanMask = field(default_factory=lambda: SpanMask(share=0.15, span=10, min_spans=0))  # frames, by a vector
    channels: SpanMask = field(default_factory=lambda: SpanMask(share=0.0, min_spans=0))  # by zeros
    noise: float = 0.0  # standard deviation over that of the embeddings

    def __post_init__(self) -> None:
        """Refuse what is no deviation."""
        if self.noise < 0:
            raise ConfigError(f"noise must be at least 0, got {self.noise}")


class UnitInput(nn.Module):
    """Units to frames. sizes: V of each stream. A unit of -1 is none and counts as the mask."""

    def __init__(self, sizes: Sequence[int], dim: int, augmentation: Augmentation) -> None:
        super().__init__()
        if not sizes or min(sizes) < 1:
            raise ConfigError(f"units need a size of at least 1 for each stream, got {list(sizes)}")
        self.sizes, self.dim, self.augmentation = tuple(sizes), dim, augmentation
        self.streams = nn.ModuleList(nn.Embedding(size, dim) for size in sizes)
        for stream in self.streams:
            nn.init.normal_(stream.weight, 0, len(sizes) ** -0.5)  # the sum has unit variance
        self.mask = nn.Parameter(torch.zeros(dim))

    def forward(self, units: Tensor, lengths: Tensor, seeds: Tensor | None = None) -> Tensor:
        """Frames [B, T, C] of units [B, T] or [B, T, G] with lengths [B]; seeds [B] decide what training changes.

        DataError for units that do not exist.
        """
        units = units.unsqueeze(2) if units.ndim == 2 else units
        valid = valid_mask(lengths, units.shape[1])
        if units.shape[2] != len(self.sizes):
            raise DataError(f"expected {len(self.sizes)} streams of units, got {units.shape[2]}")
        for stream, size in enumerate(self.sizes):
            found = units[..., stream][valid]
            if len(found) and int(found.max()) >= size:
                raise DataError(f"stream {stream} has unit {int(found.max())}, and this model knows 0..{size - 1}")
        embedded = [stream(units[..., g].clamp(0, self.sizes[g] - 1)) for g, stream in enumerate(self.streams)]
        x, hidden = sum(embedded, torch.zeros_like(embedded[0])), (units < 0).any(2)
        settings = self.augmentation
        if self.training and seeds is not None:
            if settings.noise:
                x = x + settings.noise * self._noise(x, seeds)
            if settings.time.draws:
                hidden = hidden | span_mask(settings.time, lengths, units.shape[1], seeds)
            if settings.channels.draws:
                x = x.masked_fill(channel_mask(settings.channels, self.dim, seeds + 1).to(x.device).unsqueeze(1), 0)
        return torch.where(hidden.unsqueeze(-1), self.mask, x)

    def _noise(self, x: Tensor, seeds: Tensor) -> Tensor:
        """Normal values [B, T, C], each utterance's from its own seed."""
        rows = [np.random.default_rng((seed, 2)).standard_normal(x.shape[1:], np.float32) for seed in seeds.tolist()]
        return torch.from_numpy(np.stack(rows)).to(x) if rows else torch.zeros_like(x)
