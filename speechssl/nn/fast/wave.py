"""HiFi-GAN's generator rebuilt for inference on a CPU: the same samples up to rounding, sooner.

What is different: the weights of convolutions are packed for oneDNN once; channels lie beside one another in memory,
which its kernels read fastest; the leaky ReLU behind a convolution and the sum of a residual unit are done in its own
pass. The mean over branches is a factor of the weights behind it, for a leaky ReLU gives a * y of a * x. The operators
are reached by name, as in `linear`, and tried by `available` before anything relies on them.

B utterances, T frames, C channels, N steps in time, S samples.
"""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.fast import operators
from speechssl.nn.wave_generator import WaveGenerator

_OPERATORS = ("_convolution_pointwise", "_convolution_pointwise_", "_reorder_convolution_weight",
              "_convolution_transpose_pointwise", "_reorder_convolution_transpose_weight")  # fmt: skip


class PackedConvolution:
    """A centred convolution of x [B, C, 1, N], channels last; on a CPU, without gradients."""

    def __init__(self, conv: nn.Module, dtype: torch.dtype, *, factor: float = 1.0) -> None:
        """The convolution of `factor` times what it is given; its weights are copied."""
        assert isinstance(conv, nn.Conv1d) and isinstance(conv.padding, tuple) and conv.bias is not None
        self._layout = [0, conv.padding[0]], [1, 1], [1, conv.dilation[0]], 1
        weight = (conv.weight.detach() * factor).to(dtype).unsqueeze(2).contiguous()
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._layout, [1, conv.in_channels, 1, 64])
        self._bias = conv.bias.detach().to(dtype, copy=True)

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, 1, N]."""
        return torch.ops.mkldnn._convolution_pointwise(x, self._weight, self._bias, *self._layout, "none", [], "")

    def leaky(self, x: Tensor, slope: float) -> Tensor:
        """The leaky ReLU of it."""
        act = "leaky_relu", [slope], ""
        return torch.ops.mkldnn._convolution_pointwise(x, self._weight, self._bias, *self._layout, *act)

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """`total`, to which it was added in place."""
        add: tuple[object, ...] = ("add", None, None, [], None)
        return torch.ops.mkldnn._convolution_pointwise_.binary(total, x, self._weight, self._bias, *self._layout, *add)


class PackedUpsampling:
    """A transposed convolution of x [B, C, 1, N], in the same way."""

    def __init__(self, conv: nn.Module, dtype: torch.dtype, *, factor: float = 1.0) -> None:
        """The convolution of `factor` times what it is given; its weights are copied."""
        assert isinstance(conv, nn.ConvTranspose1d) and conv.bias is not None
        assert isinstance(conv.padding, tuple) and isinstance(conv.output_padding, tuple)
        self._layout = [0, conv.padding[0]], [0, conv.output_padding[0]], [1, conv.stride[0]], [1, 1], 1
        weight = (conv.weight.detach() * factor).to(dtype).unsqueeze(2).contiguous()
        size = [1, conv.in_channels, 1, 64]
        self._weight = torch.ops.mkldnn._reorder_convolution_transpose_weight(weight, *self._layout, size)
        self._bias = conv.bias.detach().to(dtype, copy=True)

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C', 1, N * stride]."""
        return torch.ops.mkldnn._convolution_transpose_pointwise(
            x, self._weight, self._bias, *self._layout, "none", [], ""
        )


class FastWaveGenerator:
    """`generator` with its present weights. Not a module: packed weights are opaque."""

    def __init__(self, generator: WaveGenerator, dtype: torch.dtype = torch.float32) -> None:
        """dtype: of everything but the last convolution, which rounding to bfloat16 would make hiss."""
        self.dtype = dtype
        self._first = PackedConvolution(generator.first, dtype)
        self._blocks: list[_Block] = []
        factor = 1.0
        for activate, up, branches in generator.blocks:
            found = [[_Unit(unit, dtype) for unit in branch] for branch in branches.branches]
            self._blocks.append((_slope(activate), PackedUpsampling(up, dtype, factor=factor), found))
            factor = 1 / len(found)
        self._factor, self._last = factor, generator.last
        self._last_slope = _slope(generator.activation)

    def __call__(self, frames: Tensor) -> Tensor:
        """wav [B, T * hop] in -1..1, float32, of frames [B, T, C]."""
        if not frames.shape[1]:
            return frames.new_zeros(len(frames), 0)
        x = self._first(
            frames.to(self.dtype).transpose(1, 2).unsqueeze(2).contiguous(memory_format=torch.channels_last)
        )
        for slope, up, branches in self._blocks:
            x = _sum(branches, up(F.leaky_relu(x, slope)))
        y = F.leaky_relu(x.squeeze(2).float(), self._last_slope) * self._factor
        return self._last(y.contiguous()).tanh().squeeze(1)


class _Unit:
    """x + conv(act(dilated conv(act(x))))."""

    def __init__(self, unit: nn.Module, dtype: torch.dtype) -> None:
        self._slopes = _slope(unit.first), _slope(unit.second)
        self._dilated, self._last = PackedConvolution(unit.dilated, dtype), PackedConvolution(unit.last, dtype)

    def __call__(self, x: Tensor, *, keep: bool) -> Tensor:
        """keep: x is needed afterwards; otherwise the sum is written over it."""
        inside = self._dilated.leaky(F.leaky_relu(x, self._slopes[0]), self._slopes[1])
        return self._last.add_to(x.clone() if keep else x, inside)


_Block = tuple[float, PackedUpsampling, list[list[_Unit]]]


def _sum(branches: Sequence[Sequence[_Unit]], x: Tensor) -> Tensor:
    """Of what the branches make of x, which the last one overwrites."""
    total = None
    for number, branch in enumerate(branches):
        y = x
        for depth, unit in enumerate(branch):
            y = unit(y, keep=depth == 0 and number < len(branches) - 1)
        total = y if total is None else total.add_(y)
    assert total is not None
    return total


def supports(generator: nn.Module) -> bool:
    """Whether it can be rebuilt: transposed convolutions with leaky ReLUs, and no weight norm any more."""
    if not isinstance(generator, WaveGenerator) or not isinstance(generator.activation, nn.LeakyReLU):
        return False
    return not any("parametrizations" in name for name in generator.state_dict())


@cache
def available(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch, on this machine, has the operators and they do what is expected of them."""
    if not operators.offered(*_OPERATORS, dtype=dtype):
        return False
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        plain = WaveGenerator(4, channels=32, strides=(2, 2), up_kernels=(4, 5), kernels=(3, 5), dilations=(1, 2),
                              last_kernel=None, kind="leaky_relu")  # fmt: skip
        frames = torch.randn(2, 9, 4)
        try:
            found = FastWaveGenerator(plain, dtype)(frames)
        except (RuntimeError, TypeError, NotImplementedError):  # another signature, or no kernel for this CPU
            return False
        return torch.allclose(found, plain(frames), rtol=0, atol=1e-5 if dtype == torch.float32 else 0.02)


def _slope(module: nn.Module) -> float:
    assert isinstance(module, nn.LeakyReLU)
    return float(module.negative_slope)
