"""Positional embeddings, most by convolution: what is added to the frames so that the transformer knows their order.

B utterances, T frames, C channels. `valid` [B, T] is True at real frames; padded ones enter every convolution as zeros,
like the convolution's own padding, so that an utterance gives the same alone and in a batch.

differs: released implementations zero the padding once, before the first of several convolutions (data2vec) or before a
batch norm that makes it non-zero again (mHuBERT-147).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.lengths import zero_padding


def sinusoids(count: int, dim: int, first: int = 0) -> Tensor:
    """[count, dim] float32: sines in the first half of the channels, cosines in the second, of places from `first` on.

    Wavelengths from 2 pi to 2 pi * 10000 in a geometric progression.
    differs: arXiv:1706.03762 interleaves sines and cosines and never reaches 10000; this is tensor2tensor's and
    fairseq's layout.
    """
    half = dim // 2
    rates = torch.exp(torch.arange(half) * -(math.log(10000) / max(1, half - 1)))
    angles = torch.arange(first, first + count).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


def _same_conv(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """conv of x [B, T, C] padded by kernel // 2; an even kernel gives one frame too many, and the last one goes."""
    if x.shape[1] == 0:
        return x.new_zeros(*x.shape[:2], conv.out_channels)
    y = conv(x.transpose(1, 2))
    return (y[:, :, :-1] if conv.kernel_size[0] % 2 == 0 else y).transpose(1, 2)


class NoPosition(nn.Module):
    """For blocks that know the order of frames by themselves."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Zero, whatever the shape of x [B, T, C]."""
        return x.new_zeros(())


class ConvPosition(nn.Module):
    """One wide grouped convolution and GELU (wav2vec 2.0). Gives the embedding, not the sum with x.

    The released weights are weight-normalised; here the convolution is plain and the norm folded in. `batch_norm` is
    mHuBERT-147's variant (arXiv:2406.06371): no weight norm, a batch norm before the convolution. `stride` > 1 squeezes
    the frames on the way (SEW, arXiv:2109.06870).
    """

    def __init__(self, dim: int, *, kernel: int = 128, groups: int = 16, batch_norm: bool = False,
                 stride: int = 1) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups, stride=stride)
        self.norm: nn.Module | None = nn.BatchNorm1d(dim) if batch_norm else None

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embedding [B, T, C] of x [B, T, C]."""
        if self.norm is not None and x.shape[1]:
            x = self._normalize(self.norm, x, valid)
        return F.gelu(_same_conv(zero_padding(x, valid), self.conv))

    def _normalize(self, norm: nn.Module, x: Tensor, valid: Tensor | None) -> Tensor:
        if valid is None or not self.training:
            return norm(x.transpose(1, 2)).transpose(1, 2)
        frames = norm(x[valid])  # statistics of real frames only
        return torch.zeros_like(x).masked_scatter(valid.unsqueeze(-1), frames)


class ConvPositionLayer(nn.Module):
    """Grouped convolution, layer norm without parameters, GELU. `out_dim`: of channels, where they are not `dim`."""

    def __init__(self, dim: int, *, kernel: int, groups: int, out_dim: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim if out_dim is None else out_dim, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B, T, C] to [B, T, out_dim]."""
        y = _same_conv(zero_padding(x, valid), self.conv)
        return F.gelu(F.layer_norm(y, y.shape[-1:]))


class StackedConvPosition(nn.Module):
    """Several narrower convolutions one after another (data2vec, arXiv:2202.03555). Gives the embedding only."""

    def __init__(self, dim: int, *, kernel: int = 19, groups: int = 16, depth: int = 5) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvPositionLayer(dim, kernel=kernel, groups=groups) for _ in range(depth))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embedding [B, T, C] of x [B, T, C]."""
        for layer in self.layers:
            x = layer(x, valid)
        return x
