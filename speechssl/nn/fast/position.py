"""Wide grouped convolutions over frames by FFT, in overlapping blocks (overlap-save).

A kernel of 128 frames costs 128 products per output and pair of channels; in the frequency domain it is one complex
product per frequency. B blocks, N frames of one, F = N / 2 + 1 frequencies, G groups, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.positional import ConvPosition, ConvPositionLayer, StackedConvPosition


class FourierConv:
    """A "same" convolution of frames x [T, C]: padded by kernel // 2 on both sides, T frames out."""

    def __init__(self, conv: nn.Conv1d) -> None:
        kernel, groups = conv.kernel_size[0], conv.groups
        self._kernel, self._groups = kernel, groups
        self._size = 1 << max(4, (2 * kernel - 1).bit_length())  # of a block: half of it or more is kept
        weight = conv.weight.detach().double().unflatten(0, (groups, -1))  # [G, C_out / G, C_in / G, kernel]
        spectrum = torch.fft.rfft(weight, n=self._size).conj()  # conj: torch's convolutions are correlations
        self._spectrum = spectrum.permute(3, 0, 2, 1).flatten(0, 1).to(torch.complex64).contiguous()
        self._bias = None if conv.bias is None else conv.bias.detach().float().clone()

    def __call__(self, x: Tensor) -> Tensor:
        """[T, C] of x [T, C]."""
        num_frames, size, step = len(x), self._size, self._size - self._kernel + 1
        num_blocks = -(-num_frames // step)
        before = self._kernel // 2
        after = (num_blocks - 1) * step + size - before - num_frames
        blocks = F.pad(x, (0, 0, before, after)).unfold(0, size, step)  # [B, C, N], a view
        spectrum = torch.fft.rfft(blocks).unflatten(1, (self._groups, -1)).permute(3, 1, 0, 2)  # [F, G, B, C / G]
        spectrum = torch.bmm(spectrum.flatten(0, 1), self._spectrum)  # [F G, B, C / G]
        spectrum = spectrum.unflatten(0, (-1, self._groups)).permute(2, 1, 3, 0).flatten(1, 2)  # [B, C, F]
        y = torch.fft.irfft(spectrum, n=size)[:, :, :step].transpose(1, 2).reshape(num_blocks * step, -1)[:num_frames]
        return y if self._bias is None else y + self._bias


class FastPosition:
    """The positional embedding of frames x [T, C], T > 0, of either kind, in eval mode."""

    def __init__(self, position: nn.Module) -> None:
        """TypeError for a kind it does not know."""
        self._scale: Tensor | None = None
        if isinstance(position, StackedConvPosition):
            self._convs = [FourierConv(_layer(layer).conv) for layer in position.layers]
            self._normalized = True
            return
        if not isinstance(position, ConvPosition) or position.conv.stride != (1,):
            raise TypeError(f"no fast form of {type(position).__name__}")
        self._convs = [FourierConv(position.conv)]
        self._normalized = False
        norm = position.norm
        if isinstance(norm, nn.BatchNorm1d):
            # Not folded into the convolution: its padding is zeros behind the norm, not before it.
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight.detach().double() * (norm.running_var.double() + norm.eps).rsqrt()
            self._scale = scale.float()
            self._shift = (norm.bias.detach().double() - norm.running_mean.double() * scale).float()

    def __call__(self, x: Tensor) -> Tensor:
        """Embedding [T, C]."""
        if self._scale is not None:
            x = torch.addcmul(self._shift, x, self._scale)
        for conv in self._convs:
            x = conv(x)
            x = F.gelu(F.layer_norm(x, x.shape[-1:]) if self._normalized else x)
        return x


def _layer(layer: nn.Module) -> ConvPositionLayer:
    assert isinstance(layer, ConvPositionLayer)
    return layer
