"""The waveform front end of wav2vec 2.0 (arXiv:2006.11477, section 2) and its descendants: unpadded 1-d convolutions.

B utterances, S samples, T frames, C channels. Two layouts are in use: group norm (one group per channel, that is, over
time) after the first convolution only, or layer norm (over channels) after every one. Its ancestors use the same
convolutions: wav2vec (arXiv:1904.05862) with a group norm of a single group, over channels and time together, after
every one ("single"), CPC (arXiv:1807.03748) with no norm ("none").

differs: the group norm of a batch is computed over real samples only. The released implementations include the padding,
so that what an utterance gives depends on the longest one beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.lengths import ConvLayers, frame_lengths, hop, receptive_field, valid_mask, valid_or_none


@dataclass(frozen=True)
class Moments:
    """Mean and (biased) variance of each channel (or group of channels) over an utterance's time: [B, C] or [1, C].

    For encoders with several such norms: those of all of them, in the order of use.
    """

    mean: Tensor
    var: Tensor

    def columns(self, start: int, stop: int | None = None) -> "Moments":
        """Those of a stretch of channels or norms."""
        return Moments(self.mean[:, start:stop], self.var[:, start:stop])

    def to(self, device: torch.device) -> "Moments":
        """The same on a device."""
        return Moments(self.mean.to(device), self.var.to(device))


class TimeNorm(nn.Module):
    """Group norm: each group of an utterance's channels (each channel by default) is normalised over real frames."""

    def __init__(self, channels: int, eps: float = 1e-5, *, groups: int | None = None) -> None:
        super().__init__()
        self.eps = eps
        self.groups = groups or channels
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, lengths: Tensor | None = None, moments: Moments | None = None) -> Tensor:
        """x [B, C, T] normalised, with `moments` where given, else with its own over the first lengths[b] frames.

        `moments` make it possible to pass a long recording in pieces: they are those of the whole of it.
        """
        if moments is None and lengths is None:
            return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        if moments is None:
            moments = _masked_moments(x, lengths, self.groups)
        mean, var = (m.repeat_interleave(x.shape[1] // self.groups, 1) for m in (moments.mean, moments.var))
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        dtype = _at_least_float32(x.dtype)
        return (x * scale.unsqueeze(-1).to(dtype) + shift.unsqueeze(-1).to(dtype)).to(x.dtype)


def _masked_moments(x: Tensor, lengths: Tensor, groups: int) -> Moments:
    """[B, groups]. Two passes, because E[x^2] - E[x]^2 cancels."""
    members = x.shape[1] // groups
    x = x.to(_at_least_float32(x.dtype)).reshape(len(x), groups, members * x.shape[2])
    padding = ~valid_mask(lengths, x.shape[2] // members).repeat(1, members).unsqueeze(1)
    count = lengths.clamp(min=1).view(-1, 1) * members
    mean = x.masked_fill(padding, 0).sum(-1) / count
    var = (x - mean.unsqueeze(-1)).masked_fill(padding, 0).square().sum(-1) / count
    return Moments(mean, var)


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of x [B, C, T]."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ConvLayer(nn.Module):
    """Convolution, norm (a TimeNorm, a ChannelNorm or none), GELU or what is given."""

    def __init__(
        self, conv: nn.Conv1d, norm: nn.Module | None, activation: Callable[[Tensor], Tensor] = F.gelu
    ) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor, lengths: Tensor | None = None, moments: Moments | None = None) -> Tensor:
        """x [B, C_in, N] to [B, C_out, T]; `lengths` [B] are real output frames and matter to the time norm only."""
        x = self.conv(x)
        if isinstance(self.norm, TimeNorm):
            x = self.norm(x, lengths, moments)
        elif self.norm is not None:
            x = self.norm(x)
        return self.activation(x)


class ConvStack(nn.Module):
    """Waveform [B, S] to frames [B, T, C] with T = floor((S - receptive_field) / hop) + 1, or 0."""

    history = 0  # samples before its own that a frame sees

    def __init__(self, conv_layers: ConvLayers, *, norm: Literal["group", "layer", "single", "none"] = "group",
                 bias: bool = False, activation: Callable[[Tensor], Tensor] = F.gelu) -> None:  # fmt: skip
        super().__init__()
        self.kind = norm
        self.receptive_field = receptive_field(conv_layers)
        self.hop = hop(conv_layers)
        channels, layers = 1, []
        for i, (out_channels, kernel, stride) in enumerate(conv_layers):
            conv = nn.Conv1d(channels, out_channels, kernel, stride=stride, bias=bias)
            layers.append(ConvLayer(conv, self._norm(i, out_channels), activation))
            channels = out_channels
        self.layers = nn.ModuleList(layers)
        self.dim = channels

    def _norm(self, layer: int, channels: int) -> nn.Module | None:
        match self.kind:
            case "layer":
                return ChannelNorm(channels)
            case "single":
                return TimeNorm(channels, groups=1)
            case "group" if layer == 0:
                return TimeNorm(channels)
        return None

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, int64 of any shape."""
        return frame_lengths(lengths, kernel=self.receptive_field, stride=self.hop)

    def forward(self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None) -> Tensor:
        """Frames of wav [B, S]; lengths [B] are real samples (all of S by default).

        Frames beyond an utterance's own are finite but mean nothing. `moments`: see `TimeNorm`; one column per layer
        where the norm is "single".
        """
        num_frames = int(self.frame_lengths(torch.tensor(wav.shape[1])))
        valid = None if lengths is None else valid_or_none(lengths, wav.shape[1])
        x = wav if valid is None else wav.masked_fill(~valid, 0)  # padding may hold anything, NaN included
        if num_frames == 0:  # too short for the convolutions, not for us
            x = F.pad(x, (0, max(0, self.receptive_field - x.shape[1])))
        x = x.unsqueeze(1)
        for i, layer in enumerate(self.layers):
            if valid is not None and lengths is not None:
                conv = layer.conv
                lengths = frame_lengths(lengths, kernel=conv.kernel_size[0], stride=conv.stride[0])
            own = moments.columns(i, i + 1) if moments is not None and self.kind == "single" else moments
            x = layer(x, lengths if valid is not None else None, own)
        return x[:, :, :num_frames].transpose(1, 2)
