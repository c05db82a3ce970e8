"""Masks of spans, as wav2vec 2.0 (arXiv:2006.11477, section 3.1) and what followed it draw them; data2vec 2.0's.

Every utterance has a seed of its own, from which its spans are drawn: its mask does not depend on its neighbours in
the batch, on their number, or on the number of processes.

B utterances, T frames, C channels. mask: True = replaced by the mask vector.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechssl.errors import ConfigError


@dataclass(frozen=True)
class SpanMask:
    """How spans are drawn. After each field: its name in fairseq's configs."""

    share: float = 0.65  # mask_prob; length of all spans over that of the utterance, overlaps counted twice
    span: int = 10  # mask_length, frames
    min_spans: int = 2  # min_masks of an utterance that has room for them

    def __post_init__(self) -> None:
        """Refuse what masks nothing or is no share."""
        if not 0 <= self.share <= 1 or self.span < 1 or self.min_spans < 0:
            raise ConfigError(f"a mask needs 0 <= share <= 1, span >= 1 and min_spans >= 0, got {self}")

    @property
    def draws(self) -> bool:
        """Whether anything is masked."""
        return self.share > 0 or self.min_spans > 0

    @property
    def expected(self) -> float:
        """The share of a long utterance's frames that is masked at the end: 49 % with wav2vec 2.0's settings.

        A frame stays when none of the `span` starts that would cover it was drawn.
        """
        return 1 - (1 - self.share / self.span) ** self.span


def span_mask(settings: SpanMask, lengths: Tensor, num_frames: int, seeds: Tensor) -> Tensor:
    """[B, num_frames] bool on the device of `lengths` [B] (real frames); seeds [B] int64.

    Starts are drawn without replacement from those that leave room for a whole span; spans may overlap. Their number is
    share * length / span, rounded up or down at random so that it is right in the mean, and at least min_spans. At
    least one frame of two or more stays unmasked.
    differs: fairseq then drops masked frames until all utterances of a batch have equally many.
    """
    mask = np.zeros((len(lengths), num_frames), dtype=bool)
    for row, length, seed in zip(mask, lengths.tolist(), seeds.tolist(), strict=True):
        row[:length] = _spans(settings, length, np.random.default_rng(seed))
    return torch.from_numpy(mask).to(lengths.device)


@dataclass(frozen=True)
class BlockMask:
    """data2vec 2.0's inverse block masking (arXiv:2212.07525): blocks that stay are drawn, all else is masked.

    After each field: its name in fairseq's configs.
    """

    share: float = 0.5  # mask_prob, R; of an utterance's frames that are masked, exactly up to rounding
    block: int = 5  # mask_length, B; frames
    adjust: float = 0.05  # mask_prob_adjust, A; more blocks, because they overlap

    def __post_init__(self) -> None:
        """Refuse what keeps nothing or masks nothing."""
        if not 0 < self.share < 1 or self.block < 1 or not 0 <= self.adjust < 1:
            raise ConfigError(f"a block mask needs 0 < share < 1, block >= 1 and 0 <= adjust < 1, got {self}")


def block_mask(settings: BlockMask, lengths: Tensor, num_frames: int, seeds: Tensor) -> Tensor:
    """[B, num_frames] bool on the device of `lengths` [B] (real frames); seeds [B] int64.

    length * (1 - share + adjust) / block frames are drawn and stay with those around them; then single frames are
    masked or freed until length * share, rounded, are masked: at least one of two or more, and never all.
    """
    mask = np.zeros((len(lengths), num_frames), dtype=bool)
    for row, length, seed in zip(mask, lengths.tolist(), seeds.tolist(), strict=True):
        row[:length] = _outside_blocks(settings, length, np.random.default_rng(seed))
    return torch.from_numpy(mask).to(lengths.device)


def _outside_blocks(settings: BlockMask, length: int, random: np.random.Generator) -> np.ndarray:
    mask = np.ones(length, dtype=bool)
    num_masked = min(max(round(length * settings.share), 1), length - 1)
    if num_masked < 1:
        return np.zeros(length, dtype=bool)
    num_blocks = min(max(1, round(length * (1 - settings.share + settings.adjust) / settings.block)), length)
    for centre in random.choice(length, num_blocks, replace=False):
        start = centre - settings.block // 2
        mask[max(0, start) : start + settings.block] = False
    too_many = int(mask.sum()) - num_masked
    if too_many:
        changed = random.choice(np.flatnonzero(mask == (too_many > 0)), abs(too_many), replace=False)
        mask[changed] = ~mask[changed]
    return mask


def channel_mask(settings: SpanMask, num_channels: int, seeds: Tensor) -> Tensor:
    """[B, C] bool: the same over channels (wav2vec 2.0's fine-tuning, large models' pre-training)."""
    lengths = torch.full((len(seeds),), num_channels, device=seeds.device)
    return span_mask(settings, lengths, num_channels, seeds)


def _spans(settings: SpanMask, length: int, random: np.random.Generator) -> np.ndarray:
    mask = np.zeros(length, dtype=bool)
    span = min(settings.span, length // 2) if length < 2 * settings.span else settings.span
    if not span:
        return mask
    num_starts = length - span + 1
    wanted = max(int(settings.share * length / settings.span + random.random()), settings.min_spans)
    starts = random.choice(num_starts, min(wanted, num_starts), replace=False)
    for start in starts:
        mask[start : start + span] = True
    if mask.all():
        mask[random.integers(length)] = False
    return mask
