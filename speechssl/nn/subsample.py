"""Fewer frames: strided convolutions in front of an encoder's or adaptor's blocks.

As in fairseq's speech-to-text and speech-to-unit models: convolutions of `kernel` frames with GLU, each with stride 2,
padded so that T frames give ceil(T / stride). B utterances, T frames, C channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.lengths import valid_or_none, zero_padding


class Subsample(nn.Module):
    """Frames [B, T, in_dim] to [B, T', dim]; without strides a linear map. `channels`: between two convolutions."""

    def __init__(self, in_dim: int, dim: int, *, strides: Sequence[int], kernel: int = 5, channels: int = 1024) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0 or min([*strides, channels], default=1) < 1:
            raise ConfigError(f"subsampling needs an odd kernel and strides >= 1, got {kernel} and {list(strides)}")
        self.strides, self.factor = tuple(strides), 1
        layers: list[nn.Module] = []
        for number, stride in enumerate(strides):
            self.factor *= stride
            out = dim if number == len(strides) - 1 else channels // 2
            layers.append(nn.Conv1d(in_dim, 2 * out, kernel, stride=stride, padding=kernel // 2))
            in_dim = out
        self.layers = nn.ModuleList(layers)
        self.linear = None if strides else nn.Linear(in_dim, dim)

    def lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts behind the convolutions, int64 of any shape."""
        for stride in self.strides:
            lengths = -torch.div(-lengths, stride, rounding_mode="floor")
        return lengths

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames and their counts [B], of x [B, T, in_dim] with lengths [B]; zeros behind an utterance's end."""
        valid = valid_or_none(lengths, x.shape[1])
        x = zero_padding(x, valid)
        if self.linear is not None:
            return zero_padding(self.linear(x), valid), lengths
        for stride, layer in zip(self.strides, self.layers, strict=True):
            lengths = -torch.div(-lengths, stride, rounding_mode="floor")
            if not x.shape[1]:
                x = x.new_zeros(len(x), 0, layer.out_channels // 2)
                continue
            x = F.glu(layer(x.transpose(1, 2)), 1).transpose(1, 2)
            x = zero_padding(x, valid_or_none(lengths, x.shape[1]))
        return x, lengths
