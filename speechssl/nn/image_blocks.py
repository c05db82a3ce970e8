"""Residual blocks that convolve a mel spectrogram as an image (StarGAN v2, arXiv:1912.01865, tables 5 to 7).

B utterances, C channels, H rows (mel bins), W columns (frames), S numbers of a style.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["none", "instance", "style"]
_EPS = 1e-5
_SLOPE = 0.2


class AdaptiveInstanceNorm(nn.Module):
    """Adaptive instance normalisation (arXiv:1703.06868, eq. 8): zero mean and unit variance of each image's channels,
    then times 1 + gamma and plus beta, which a linear layer gives of the style.
    """

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.told = nn.Linear(style, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """[B, C, H, W] of x [B, C, H, W] in the style [B, S]."""
        gamma, beta = self.told(style)[..., None, None].chunk(2, 1)
        return (1 + gamma) * instance_norm(x) + beta


def instance_norm(x: Tensor) -> Tensor:
    """x [B, C, H, W] with zero mean and unit variance over each H x W, in float32 or wider."""
    wide = x if x.dtype == torch.float64 else x.float()
    return F.instance_norm(wide, eps=_EPS)


class ImageBlock(nn.Module):
    """Two 3 x 3 convolutions, each behind a normalisation and a leaky ReLU, beside a shortcut; over sqrt(2).

    resample: factors of H and W. Down is by averages behind the first convolution, up by repetition before it.
    """

    def __init__(
        self, inputs: int, outputs: int, *, norm: Norm = "none", style: int = 0, resample: tuple[int, int] = (1, 1),
        up: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        between = outputs if up else inputs
        self.norm, self.resample, self.up = norm, resample, up
        self.first = nn.Conv2d(inputs, between, 3, padding=1)
        self.second = nn.Conv2d(between, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None
        self.norms = nn.ModuleList()
        if norm == "style":
            self.norms.extend(AdaptiveInstanceNorm(channels, style) for channels in (inputs, between))

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """[B, outputs, H', W'] of x [B, inputs, H, W], in the style [B, S] where it has one."""
        beside = self._larger(x)
        beside = beside if self.shortcut is None else self.shortcut(beside)
        beside = self._smaller(beside)
        x = self._smaller(self.first(self._larger(self._active(x, 0, style))))
        return (beside + self.second(self._active(x, 1, style))) / math.sqrt(2)

    def _active(self, x: Tensor, number: int, style: Tensor | None) -> Tensor:
        match self.norm:
            case "style":
                x = self.norms[number](x, style)
            case "instance":
                x = instance_norm(x)
        return F.leaky_relu(x, _SLOPE)

    def _larger(self, x: Tensor) -> Tensor:
        if not self.up or self.resample == (1, 1):
            return x
        return F.interpolate(x, scale_factor=tuple(map(float, self.resample)), mode="nearest")

    def _smaller(self, x: Tensor) -> Tensor:
        return x if self.up else mean_pool(x, self.resample)


def mean_pool(x: Tensor, by: tuple[int, int]) -> Tensor:
    """[B, C, H // r, W // c] of x [B, C, H, W]: means of r x c neighbours, as avg_pool2d, which is slow in bf16."""
    rows, columns = by
    if by == (1, 1):
        return x
    x = x[:, :, : x.shape[2] // rows * rows, : x.shape[3] // columns * columns]
    first, *others = (x[:, :, row::rows, column::columns] for row in range(rows) for column in range(columns))
    return sum(others, first) / (rows * columns)


@torch.no_grad()
def draw_weights(module: nn.Module) -> None:
    """Weights of all convolutions and linear layers as arXiv:1912.01865, section B, has them: He's, no bias.

    Its scaling vectors of AdaIN begin at one, which is gamma = 0 here.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()


class ImageEncoder(nn.Module):
    """An image to one vector: a convolution, blocks that halve both axes and double the channels, and a mean.

    most: channels that there are at most.
    """

    def __init__(self, inputs: int, channels: int, *, most: int, depth: int) -> None:
        super().__init__()
        sizes = [min(most, channels << level) for level in range(depth + 1)]
        self.outputs, self.smallest = sizes[-1], 1 << depth  # numbers of the vector; rows and columns it needs
        self.stem = nn.Conv2d(inputs, sizes[0], 3, padding=1)
        self.blocks = nn.ModuleList(ImageBlock(one, two, resample=(2, 2)) for one, two in pairwise(sizes))
        self.last = nn.Conv2d(sizes[-1], sizes[-1], 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, outputs] of x [B, inputs, H, W]."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return F.leaky_relu(self.last(F.leaky_relu(x, _SLOPE)).mean((2, 3)), _SLOPE)
