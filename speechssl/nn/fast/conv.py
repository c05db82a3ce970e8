"""The convolutions over the waveform as matrix products on rows of frames, a stretch of audio at a time.

Frames lie in rows x [T, C]. A kernel of k taps and stride s sees, for all output frames at once, the matrix
[T_out, k C] whose rows begin s rows of x apart: an overlapping view, so that nothing is copied (no im2col). The first
layers, whose frames are many, go tile by tile so that what one gives the next is still in the cache.

The group norm over time is folded into the first convolution: its moments follow from those of the convolution's ten
samples wide windows (`nn.windows.conv_moments`, in float64), before anything is convolved.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.conv import ConvLayer, ConvStack, Moments, TimeNorm
from speechssl.nn.fast.linear import PackedLinear
from speechssl.nn.lengths import frame_lengths
from speechssl.nn.windows import conv_moments

_TILE = 3200  # frames of the first convolution at once: 1 s
_TILED = 3  # layers that go tile by tile
_SPARE = 2  # rows of zeros behind a layer's frames: the next one may make its frames two by two


@dataclass(frozen=True)
class _Norm:
    """Layer norm over channels."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


def layer_norm(norm: nn.Module) -> _Norm | None:
    """A copy of a layer norm's parameters as a function; None for anything else (`nn.Identity`, no norm)."""
    if not isinstance(norm, nn.LayerNorm):
        return None
    return _Norm(norm.weight.detach().clone(), norm.bias.detach().clone(), norm.eps)


class FastConvLayer:
    """Convolution of frames in rows, layer norm where there is one, GELU."""

    def __init__(self, layer: ConvLayer, dtype: torch.dtype) -> None:
        self.kernel, self.stride = layer.conv.kernel_size[0], layer.conv.stride[0]
        self._norm = layer_norm(layer.norm) if layer.norm is not None else None
        paired = (self.kernel, self.stride) == (3, 2) and dtype == torch.float32  # differences cost digits
        self._conv = _PairedConv(layer.conv) if paired else _RowConv(layer.conv, dtype)

    def num_frames(self, num_rows: int) -> int:
        """Frames that it makes of so many."""
        return max(0, (num_rows - self.kernel) // self.stride + 1)

    def __call__(self, x: Tensor, count: int) -> Tensor:
        """At least `count` frames [.., C_out] of contiguous rows x [T, C_in], which may be overwritten.

        Frames beyond `count` are finite where x is, and mean nothing.
        """
        if self._norm is None:
            return self._conv(x, count, activate=True)
        return F.gelu(self._norm(self._conv(x, count, activate=False).float()))


class _RowConv:
    """Any kernel and stride: one product, whose rows overlap where the kernel is longer than the stride."""

    def __init__(self, conv: nn.Conv1d, dtype: torch.dtype) -> None:
        weight = conv.weight.detach()  # [C_out, C_in, kernel]
        self._step = conv.stride[0] * weight.shape[1]  # numbers from one output frame's rows to the next one's
        self._product = PackedLinear(weight.transpose(1, 2).flatten(1), conv.bias, dtype)

    def __call__(self, x: Tensor, count: int, *, activate: bool) -> Tensor:
        x = x.to(self._product.dtype)
        rows = x.as_strided((count, self._product.in_features), (self._step, 1), x.storage_offset())
        return self._product.gelu(rows) if activate else self._product(rows)


class _PairedConv:
    """Kernel 3, stride 2 with five sixths of the products: two output frames at a time.

    Of rows e0 o0 e1 o1 e2 the two outputs are W0 e0 + W1 o0 + W2 e1 and W0 e1 + W1 o1 + W2 e2. Their even rows are a
    convolution by two taps, which Winograd's F(2, 2) does in three products of four (arXiv:1509.09308):
    m = (W0 + W2) e1, then m + W0 (e0 - e1) + W1 o0 and m + W2 (e2 - e1) + W1 o1.
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        first, second, third = conv.weight.detach().double().unbind(2)
        self._middle = PackedLinear(first + third, conv.bias)
        # One product for each tap: sums of fewer terms err a fifth less, for 1 % of the time.
        self._first, self._second, self._third = (PackedLinear(tap) for tap in (first, second, third))

    def __call__(self, x: Tensor, count: int, *, activate: bool) -> Tensor:
        pairs, channels = -(-count // 2), x.shape[1]
        x = F.pad(x, (0, 0, 0, 4 * pairs + 1 - len(x))) if len(x) <= 4 * pairs else x
        e0, o0, e1, o1 = x[: 4 * pairs].view(pairs, 4 * channels).split(channels, dim=1)
        e2 = x[4:].as_strided(e1.shape, e1.stride())
        common = self._middle(e1)
        right = e2 - e1
        e0 -= e1
        y = x.new_empty(2 * pairs + _SPARE, common.shape[1])
        y[2 * pairs :] = 0
        taps = ((self._first, e0, o0), (self._third, right, o1))
        for i, (outer, even, odd) in enumerate(taps):
            made = self._second.plus(odd, outer.plus(even, common))
            y[i : 2 * pairs : 2] = F.gelu(made) if activate else made
        return y


class FastConvStack:
    """Waveform [S] to frames [T, C], as `ConvStack` does for a batch of one without padding."""

    def __init__(self, stack: ConvStack, dtype: torch.dtype) -> None:
        first = stack.layers[0]
        self.hop, self.receptive_field, self.dim = stack.hop, stack.receptive_field, stack.dim
        self._kernel, self._stride = first.conv.kernel_size[0], first.conv.stride[0]
        self.first = nn.Conv1d(1, first.conv.out_channels, self._kernel, stride=self._stride,
                               bias=first.conv.bias is not None).requires_grad_(False)  # fmt: skip
        self.first.load_state_dict(first.conv.state_dict())
        self._time_norm = copy.deepcopy(first.norm) if isinstance(first.norm, TimeNorm) else None
        self.needs_moments = self._time_norm is not None
        self._norm = layer_norm(first.norm) if self._time_norm is None and first.norm is not None else None
        layers = [FastConvLayer(layer, dtype) for layer in list(stack.layers)[1:]]
        self._tiled, self._rest = layers[: _TILED - 1], layers[_TILED - 1 :]

    def __call__(self, wav: Tensor, moments: Moments | None = None) -> Tensor:
        """Frames [T, C]; T = 0 where S < receptive_field. `moments`: of the whole recording where wav is a piece."""
        num_frames = int(frame_lengths(torch.tensor(len(wav)), kernel=self.receptive_field, stride=self.hop))
        if num_frames == 0:
            return wav.new_zeros(0, self.dim)
        if self.needs_moments and moments is None:
            moments = conv_moments([wav], self.first)
        x, count = self._lower(wav, self._first(moments))
        for layer in self._rest:
            count = layer.num_frames(count)
            x = layer(x, count)
        return x[:num_frames].float()

    def _first(self, moments: Moments | None) -> PackedLinear:
        """The first convolution, with the group norm of `moments` folded in."""
        weight, bias = self.first.weight[:, 0].double(), self.first.bias
        norm = self._time_norm
        if norm is None or moments is None:
            return PackedLinear(weight, bias)
        scale = norm.weight.detach().double() * (moments.var[0].double() + norm.eps).rsqrt()
        centre = (0 if bias is None else bias.double()) - moments.mean[0].double()
        return PackedLinear(weight * scale.unsqueeze(1), norm.bias.detach().double() + centre * scale)

    def _lower(self, wav: Tensor, first: PackedLinear) -> tuple[Tensor, int]:
        """Frames that the first and the tiled layers make of wav [S], and how many of them are real."""
        windows = wav.unfold(0, self._kernel, self._stride)  # [T, kernel], a view
        counts = [len(windows)]
        for layer in self._tiled:
            counts.append(layer.num_frames(counts[-1]))
        step = max(1, _TILE // math.prod(layer.stride for layer in self._tiled))
        frames = None
        for start in range(0, counts[-1], step):
            tile = self._tile(windows, first, start, min(step, counts[-1] - start))
            if frames is None:
                frames = tile.new_empty(counts[-1] + _SPARE, tile.shape[1])
                frames[counts[-1] :] = 0
            frames[start : start + len(tile)] = tile
        assert frames is not None
        return frames, counts[-1]

    def _tile(self, windows: Tensor, first: PackedLinear, start: int, count: int) -> Tensor:
        """Frames start .. start + count - 1 of the last tiled layer."""
        counts = [count]
        for layer in reversed(self._tiled):
            start *= layer.stride
            counts.append((counts[-1] - 1) * layer.stride + layer.kernel)
        x = F.pad(windows[start : start + counts.pop()], (0, 0, 0, _SPARE))
        x = first.gelu(x) if self._norm is None else F.gelu(self._norm(first(x)))
        for layer in self._tiled:
            x = layer(x, counts.pop())
        return x[:count]
