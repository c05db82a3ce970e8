"""Frames to waveform: transposed convolutions (HiFi-GAN, codecs), or an inverse STFT behind ConvNeXt blocks (Vocos).

T frames give exactly T * hop samples, and what an utterance gives does not depend on its neighbours.

B utterances, T frames, C channels, F bins, S samples.
"""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.lengths import zero_padding
from speechssl.nn.wave_blocks import (
    Activation,
    ConvNeXt,
    ResidualBranches,
    activation,
    at_rate,
    convolution,
    silenced,
    upsampling,
)

_LOUDEST = 1e2  # magnitude of a bin, as in Vocos


class WaveGenerator(nn.Module):
    """Upsampling by transposed convolutions, each with half the channels and followed by residual branches.

    HiFi-GAN V1 (arXiv:2010.05646): channels 512, strides (8, 8, 2, 2), kernels (3, 7, 11), dilations (1, 3, 5),
    last_kernel None (the unit's own), kind "leaky_relu". The Descript codec: one kernel of 7, dilations (1, 3, 9),
    last_kernel 1, kind "snake".
    """

    def __init__(
        self, dim: int, *, channels: int, strides: Sequence[int], up_kernels: Sequence[int] | None = None,
        kernels: Sequence[int] = (7,), dilations: Sequence[int] = (1, 3, 9), last_kernel: int | None = 1,
        kind: Activation = "snake",
    ) -> None:  # fmt: skip
        super().__init__()
        if min(strides, default=0) < 2 or channels < 1 or channels % 2 ** len(strides):
            raise ConfigError(f"a generator needs strides >= 2 and channels that can be halved for each of them, got "
                              f"{channels}, {tuple(strides)}")  # fmt: skip
        self.strides, self.hop = tuple(strides), prod(strides)
        self.first = convolution(dim, channels, 7)
        blocks = []
        for stride, kernel in zip(strides, up_kernels or [2 * stride for stride in strides], strict=True):
            up = upsampling(channels, channels // 2, stride, kernel)
            branches = ResidualBranches(channels // 2, kernels=kernels, dilations=dilations, kind=kind,
                                        last_kernel=last_kernel)  # fmt: skip
            blocks.append(nn.ModuleList([activation(kind, channels), up, branches]))
            channels //= 2
        self.blocks = nn.ModuleList(blocks)
        self.activation = activation(kind, channels)
        self.last = convolution(channels, 1, 7)

    @property
    def reach(self) -> tuple[int, int]:
        """Frames before and behind a frame on which its samples depend; exact."""
        first, last = 0, self.hop - 1  # of the samples, then of the steps before each layer
        first, last = _seen(first, last, self.last)
        for _, up, branches in reversed(list(self.blocks)):
            wide = [sum(_half(conv) for unit in branch for conv in (unit.dilated, unit.last))
                    for branch in branches.branches]  # fmt: skip
            first, last = first - max(wide), last + max(wide)
            stride, kernel, padding = up.stride[0], up.kernel_size[0], up.padding[0]
            first, last = -((kernel - 1 - padding - first) // stride), (last + padding) // stride
        first, last = _seen(first, last, self.first)
        return -first, last

    def forward(self, frames: Tensor, valid: Tensor | None = None) -> Tensor:
        """wav [B, T * hop] in -1..1 of frames [B, T, C]; `valid` [B, T] are real ones (None: all)."""
        if not frames.shape[1]:
            return frames.new_zeros(len(frames), 0)
        x = silenced(frames.transpose(1, 2), valid)
        x, steps = silenced(self.first(x), valid), 1
        for stride, (activate, up, branches) in zip(self.strides, self.blocks, strict=True):
            steps *= stride
            here = at_rate(valid, steps)
            x = branches(silenced(up(activate(x)), here), here)
        with torch.autocast(x.device.type, enabled=False):  # rounded to 8 bits, samples would hiss
            wav = self.last(self.activation(x.to(self.last.weight.dtype))).tanh()
        return silenced(wav, at_rate(valid, steps)).squeeze(1)


class SpectralGenerator(nn.Module):
    """ConvNeXt blocks at the frame rate, then magnitude and phase of each frame and an inverse STFT (arXiv:2306.00814).

    An order of magnitude less arithmetic than transposed convolutions.
    """

    def __init__(self, dim: int, *, channels: int, hop: int, num_blocks: int, window: int) -> None:
        super().__init__()
        if window < 2 * hop or (window - hop) % 2 or num_blocks < 1 or channels < 1:
            raise ConfigError(f"a spectral generator needs blocks, and a window of two hops ({hop}) or more, longer "
                              f"than one by an even number, got {window}")  # fmt: skip
        self.hop, self.window = hop, window
        self.first = nn.Conv1d(dim, channels, 7, padding=3)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.blocks = nn.ModuleList(ConvNeXt(channels, 3 * channels, scale=1 / num_blocks) for _ in range(num_blocks))
        self.last_norm = nn.LayerNorm(channels, eps=1e-6)
        self.last = nn.Linear(channels, window + 2)

    @property
    def reach(self) -> tuple[int, int]:
        """As `WaveGenerator.reach`."""
        frames = -(-(self.window - self.hop) // (2 * self.hop))  # whose windows overlap
        frames += _half(self.first) + sum(_half(block.depthwise) for block in self.blocks)
        return frames, frames

    def forward(self, frames: Tensor, valid: Tensor | None = None) -> Tensor:
        """As `WaveGenerator`."""
        if not frames.shape[1]:
            return frames.new_zeros(len(frames), 0)
        magnitude, phase = self.polar(frames, valid)
        spectrum = torch.polar(magnitude, phase)
        window = torch.hann_window(self.window, device=spectrum.device)
        wav = overlap_add(spectrum, window, self.hop, valid)
        return zero_padding(wav, at_rate(valid, self.hop)).to(frames.dtype)

    def polar(self, frames: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Magnitude and phase [B, T, F] of every frame's windowed spectrum, float32."""
        x = self.first(zero_padding(frames, valid).transpose(1, 2)).transpose(1, 2)
        x = zero_padding(self.norm(x), valid)
        for block in self.blocks:
            x = block(x, valid)
        magnitude, phase = self.last(self.last_norm(x)).float().chunk(2, -1)
        return magnitude.exp().clamp_max(_LOUDEST), phase


def _half(conv: nn.Module) -> int:
    """Steps to either side that a centred convolution sees."""
    assert isinstance(conv, nn.Conv1d)
    return conv.dilation[0] * (conv.kernel_size[0] // 2)


def _seen(first: int, last: int, conv: nn.Module) -> tuple[int, int]:
    return first - _half(conv), last + _half(conv)


def overlap_add(spectrum: Tensor, window: Tensor, hop: int, valid: Tensor | None = None) -> Tensor:
    """Inverse STFT [B, T * hop] of spectrum [B, T, F]: frame t is centred on the middle of its hop samples.

    Windowed frames are added and divided by the sum of squared windows of the frames that are there (least squares,
    Griffin and Lim 1984), so that a spectrum of a signal gives that signal, the edges included.
    """
    batch, count, _ = spectrum.shape
    length = len(window)
    window = window.to(spectrum.real.dtype)
    pieces = zero_padding(torch.fft.irfft(spectrum, n=length) * window, valid)
    weights = window.square().expand(batch, count, length)
    both = torch.cat([pieces, zero_padding(weights, valid)]).transpose(1, 2)
    total = (count - 1) * hop + length
    added = F.fold(both, (1, total), (1, length), stride=(1, hop)).flatten(1)
    left = (length - hop) // 2
    signal, weight = added[:, left : left + count * hop].chunk(2)
    return signal / weight.clamp_min(1e-8)
