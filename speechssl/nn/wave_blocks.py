"""Blocks of networks that work on waveforms: snake, convolutions that know where an utterance ends, residual units.

HiFi-GAN (arXiv:2010.05646) and the Descript codec (arXiv:2306.06546) use the same residual branches with other
activations, kernels and numbers of them; what differs is an argument here.

B utterances, C channels, N steps in time at whatever rate.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from speechssl.errors import ConfigError

Activation = Literal["snake", "leaky_relu"]
_SLOPE = 0.1  # of the leaky ReLU, as in HiFi-GAN
_CONVOLUTIONS = (nn.Conv1d, nn.ConvTranspose1d, nn.Conv2d)
_NORMED = "parametrizations.weight.original"  # torch's names: 0 the sizes, 1 the directions


class Snake(nn.Module):
    """x + sin²(αx) / α with an α of each channel (arXiv:2006.08195); α starts at 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, N] to the same."""
        alpha = self.alpha.unsqueeze(1)
        return x + (alpha * x).sin().square() / (alpha + 1e-9)


def activation(kind: Activation, channels: int) -> nn.Module:
    """Both leave zero at zero, so that silence behind an utterance stays silence."""
    match kind:
        case "snake":
            return Snake(channels)
        case "leaky_relu":
            return nn.LeakyReLU(_SLOPE)
    raise ConfigError(f"unknown activation {kind!r} (known: snake, leaky_relu)")


def silenced(x: Tensor, valid: Tensor | None) -> Tensor:
    """x [B, C, N] with zeros where `valid` [B, N] is False: what a convolution sees beyond the end of a lone one."""
    return x if valid is None else x.masked_fill(~valid.unsqueeze(1), 0)


def at_rate(valid: Tensor | None, steps: int) -> Tensor | None:
    """`valid` [B, T] of frames for `steps` steps per frame, [B, T * steps]."""
    return None if valid is None else valid.repeat_interleave(steps, 1)


def convolution(in_channels: int, out_channels: int, kernel: int, *, dilation: int = 1) -> nn.Module:
    """Centred, as many steps out as in; odd kernels."""
    padding = dilation * (kernel // 2)
    return nn.Conv1d(in_channels, out_channels, kernel, dilation=dilation, padding=padding)


def downsampling(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A convolution with a kernel of two strides: N / stride steps of N, which must be a multiple."""
    padding = -(-stride // 2)
    return nn.Conv1d(in_channels, out_channels, 2 * stride, stride=stride, padding=padding)


def upsampling(in_channels: int, out_channels: int, stride: int, kernel: int) -> nn.Module:
    """A transposed convolution: N * stride steps of N, odd ones too. Kernels are two strides, usually."""
    if kernel < stride:
        raise ConfigError(f"an upsampling by {stride} needs a kernel of at least {stride}, got {kernel}")
    padding = -(-(kernel - stride) // 2)
    return nn.ConvTranspose1d(in_channels, out_channels, kernel, stride=stride, padding=padding,
                              output_padding=(kernel - stride) % 2)  # fmt: skip


def add_weight_norm(model: nn.Module) -> None:
    """Convolutions of `model` learn size and direction of their weights apart (arXiv:1602.07868), in place."""
    for module in list(model.modules()):
        if isinstance(module, _CONVOLUTIONS) and not parametrize.is_parametrized(module):
            weight_norm(module)


def without_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of such a model as that of a plain one: the weights that its convolutions have."""
    sizes = f".{_NORMED}0"
    plain = {name: tensor for name, tensor in tensors.items() if f".{_NORMED}" not in name}
    for name, size in tensors.items():
        if name.endswith(sizes):
            stem = name.removesuffix(sizes)
            plain[f"{stem}.weight"] = torch._weight_norm(tensors[f"{stem}.{_NORMED}1"], size, 0)
    return plain


class ResidualUnit(nn.Module):
    """x + conv(act(dilated conv(act(x)))). The second kernel: 1 in the Descript codec, the first's in HiFi-GAN."""

    def __init__(self, channels: int, *, kernel: int, dilation: int, last_kernel: int, kind: Activation) -> None:
        super().__init__()
        self.first = activation(kind, channels)
        self.dilated = convolution(channels, channels, kernel, dilation=dilation)
        self.second = activation(kind, channels)
        self.last = convolution(channels, channels, last_kernel)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B, C, N] to the same; x is zero where `valid` is False, and so is what comes out."""
        inside = silenced(self.dilated(self.first(x)), valid)
        return x + silenced(self.last(self.second(inside)), valid)


class ResidualBranches(nn.Module):
    """The mean of several branches, one per kernel, each a chain of residual units, one per dilation.

    HiFi-GAN's multi-receptive field fusion with three kernels; a plain chain with one.
    """

    def __init__(
        self, channels: int, *, kernels: Sequence[int], dilations: Sequence[int], kind: Activation,
        last_kernel: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels) or min(dilations, default=1) < 1:
            raise ConfigError(f"residual units need odd kernels and dilations of at least 1, got {tuple(kernels)}, "
                              f"{tuple(dilations)}")  # fmt: skip
        self.branches = nn.ModuleList(
            nn.ModuleList(
                ResidualUnit(channels, kernel=kernel, dilation=dilation, last_kernel=last_kernel or kernel, kind=kind)
                for dilation in dilations
            )
            for kernel in kernels
        )

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B, C, N] to the same."""
        total = None
        for branch in self.branches:
            y = x
            for unit in branch:
                y = unit(y, valid)
            total = y if total is None else total + y
        assert total is not None
        return total / len(self.branches)


class ConvNeXt(nn.Module):
    """A depthwise convolution over 7 frames, layer norm, a wide linear layer and back, scaled (arXiv:2201.03545).

    As in Vocos (arXiv:2306.00814), over frames [B, T, C].
    """

    def __init__(self, dim: int, inner: int, *, kernel: int = 7, scale: float = 1.0) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.widen = nn.Linear(dim, inner)
        self.narrow = nn.Linear(inner, dim)
        self.scale = nn.Parameter(torch.ones(dim) * scale)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """[B, T, C] to the same; frames that are not `valid` [B, T] are zeros before and after."""
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        y = x + self.scale * self.narrow(F.gelu(self.widen(self.norm(y))))
        return y if valid is None else y.masked_fill(~valid.unsqueeze(2), 0)
