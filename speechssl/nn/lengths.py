"""Lengths of padded batches: real samples to real frames, and masks of what is real.

`valid` is True at real positions. B utterances, N padded positions. Layers are (channels, kernel, stride) triples.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

ConvLayers = Sequence[tuple[int, int, int]]


def receptive_field(layers: ConvLayers) -> int:
    """Samples that the first frame of a stack of unpadded convolutions sees (400 for wav2vec 2.0)."""
    samples = 1
    for _, kernel, stride in reversed(layers):
        samples = (samples - 1) * stride + kernel
    return samples


def hop(layers: ConvLayers) -> int:
    """Samples from one frame to the next (320 for wav2vec 2.0)."""
    samples = 1
    for _, _, stride in layers:
        samples *= stride
    return samples


def frame_lengths(lengths: Tensor, *, kernel: int, stride: int) -> Tensor:
    """floor((lengths - kernel) / stride) + 1, and 0 where not one kernel fits. int64, any shape.

    For a stack of unpadded convolutions the same rule holds with its receptive field and hop, because nested floors
    of integers collapse into one.
    """
    frames = torch.div(lengths.long() - kernel, stride, rounding_mode="floor") + 1
    return frames.clamp(min=0)


def frame_rule(receptive_field: int, hop: int) -> str:
    """`frame_lengths` in words, for cards and sidecars."""
    return f"floor((N - {receptive_field}) / {hop}) + 1"


def check_lengths(lengths: Tensor, batch: int, longest: int) -> Tensor:
    """`lengths` as int64 [batch], each in 0..longest; anything else raises ValueError."""
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise ValueError(f"lengths must be {batch} integers, got {lengths.dtype} of shape {tuple(lengths.shape)}")
    if batch and not (int(lengths.min()) >= 0 and int(lengths.max()) <= longest):
        raise ValueError(f"lengths must lie in 0..{longest} (the padded size), got {lengths.tolist()}")
    return lengths.long()


def wav_lengths(wav: Tensor, lengths: Tensor | None) -> Tensor:
    """Real samples [B] int64 of wav [B, S], on its device; lengths None: all of S. ValueError for what cannot be."""
    if wav.ndim != 2:
        raise ValueError(f"wav must be [batch, samples], got shape {tuple(wav.shape)}")
    if lengths is None:
        return torch.full((wav.shape[0],), wav.shape[1], device=wav.device)
    return check_lengths(lengths.to(wav.device), *wav.shape)


def valid_mask(lengths: Tensor, longest: int) -> Tensor:
    """[B, longest], True where a position is real."""
    return torch.arange(longest, device=lengths.device) < lengths.unsqueeze(1)


def valid_or_none(lengths: Tensor, longest: int) -> Tensor | None:
    """`valid_mask`, or None where nothing is padded, so that the masked code paths can be skipped."""
    return None if bool((lengths >= longest).all()) else valid_mask(lengths, longest)


def zero_padding(x: Tensor, valid: Tensor | None) -> Tensor:
    """x [B, N, ...] with zeros at padded positions, whatever stood there (NaN included); x itself without padding."""
    if valid is None:
        return x
    return x.masked_fill(~valid.view(*valid.shape, *[1] * (x.ndim - 2)), 0)
