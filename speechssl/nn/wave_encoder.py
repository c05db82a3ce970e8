"""Waveform to frames, for codecs: strided convolutions over samples, or ConvNeXt blocks over log-mel frames.

Both give ceil(S / hop) frames of S samples, frame t about samples hop * t .. hop * (t + 1) - 1, and see what lies
around them: behind and before an utterance is silence, alone or in a batch.

B utterances, S samples, T frames, C channels.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.lengths import frame_lengths, valid_mask, valid_or_none, wav_lengths, zero_padding
from speechssl.nn.mel import log_mel
from speechssl.nn.wave_blocks import (
    Activation,
    ConvNeXt,
    ResidualBranches,
    activation,
    at_rate,
    convolution,
    downsampling,
    silenced,
)


def num_frames(lengths: Tensor, hop: int) -> Tensor:
    """ceil(lengths / hop), int64 of any shape: floor((N - 1) / hop) + 1, and 0 of 0."""
    return frame_lengths(lengths, kernel=1, stride=hop)


def whole_frames(wav: Tensor, lengths: Tensor, hop: int) -> tuple[Tensor, Tensor | None]:
    """wav [B, S] with silence behind each utterance, up to a multiple of the hop; real frames [B, T] or None (all).

    At least one frame, which convolutions need: of no samples it is cut off afterwards.
    """
    frames = num_frames(lengths, hop)
    longest = max(1, -(-wav.shape[1] // hop))
    wav = zero_padding(wav, valid_or_none(lengths, wav.shape[1]))
    return F.pad(wav, (0, longest * hop - wav.shape[1])), valid_or_none(frames, longest)


class WaveEncoder(nn.Module):
    """The encoder of SoundStream (arXiv:2107.03312), EnCodec and the Descript codec (arXiv:2306.06546).

    Residual units, then a strided convolution with twice the channels, for each stride.
    """

    def __init__(
        self, dim: int, *, channels: int, strides: Sequence[int], kernel: int = 7, dilations: Sequence[int] = (1, 3, 9),
        kind: Activation = "snake",
    ) -> None:  # fmt: skip
        super().__init__()
        if channels < 1 or min(strides, default=0) < 2:
            raise ConfigError(f"a wave encoder needs channels >= 1 and strides >= 2, got {channels}, {tuple(strides)}")
        self.strides, self.hop = tuple(strides), prod(strides)
        self.first = convolution(1, channels, 7)
        blocks = []
        for stride in strides:
            units = ResidualBranches(channels, kernels=(kernel,), dilations=dilations, kind=kind, last_kernel=1)
            down = downsampling(channels, 2 * channels, stride)
            blocks.append(nn.ModuleList([units, activation(kind, channels), down]))
            channels *= 2
        self.blocks = nn.ModuleList(blocks)
        self.activation = activation(kind, channels)
        self.last = convolution(channels, dim, 3)

    def forward(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, C] of wav [B, S] with lengths [B]; zeros behind an utterance's frames."""
        count = -(-wav.shape[1] // self.hop)
        wav, valid = whole_frames(wav, lengths, self.hop)
        steps = self.hop
        x = silenced(self.first(wav.unsqueeze(1)), at_rate(valid, steps))
        for stride, (units, activate, down) in zip(self.strides, self.blocks, strict=True):
            x = activate(units(x, at_rate(valid, steps)))
            steps //= stride
            x = silenced(down(x), at_rate(valid, steps))
        return silenced(self.last(self.activation(x)), valid).transpose(1, 2)[:, :count]


class SpectralEncoder(nn.Module):
    """Log-mel frames and ConvNeXt blocks, Vocos's backbone (arXiv:2306.00814) as an encoder. Phase is not seen."""

    def __init__(
        self, dim: int, *, channels: int, hop: int, num_blocks: int, window: int, num_mels: int, sample_rate: int
    ) -> None:
        super().__init__()
        if window < hop or num_blocks < 1 or channels < 1 or num_mels < 1:
            raise ConfigError(f"a spectral encoder needs window >= hop ({hop}) and at least one block, channel and mel "
                              f"bin, got {window}, {num_blocks}, {channels}, {num_mels}")  # fmt: skip
        self.hop, self.window, self.num_mels, self.sample_rate = hop, window, num_mels, sample_rate
        self.first = nn.Conv1d(num_mels, channels, 7, padding=3)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.blocks = nn.ModuleList(ConvNeXt(channels, 3 * channels, scale=1 / num_blocks) for _ in range(num_blocks))
        self.last_norm = nn.LayerNorm(channels, eps=1e-6)
        self.last = nn.Linear(channels, dim)

    def forward(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """As `WaveEncoder`; frame t is the window around the middle of its samples."""
        count = -(-wav.shape[1] // self.hop)
        longest, left = max(1, count), (self.window - self.hop) // 2
        valid = valid_mask(num_frames(lengths, self.hop), longest)
        mel = log_mel(F.pad(wav, (left, 0)), lengths + left, num_frames=longest, hop=self.hop, window=self.window,
                      num_mels=self.num_mels, sample_rate=self.sample_rate)  # fmt: skip
        mel = zero_padding((mel + 7) / 5, valid)  # about -3..3: power from -100 dB to a full-scale tone's
        x = zero_padding(self.norm(self.first(mel.transpose(1, 2)).transpose(1, 2)), valid)
        for block in self.blocks:
            x = block(x, valid)
        return zero_padding(self.last(self.last_norm(x)), valid)[:, :count]


class FrameEncoder(nn.Module):
    """One of the above as an encoder (`speechssl.encoders.Encoder`) without blocks: layer 0 is all there is."""

    num_layers: ClassVar[int] = 0
    receptive_field: ClassVar[int] = 1  # by the frame rule: every begun hop is a frame

    def __init__(self, config: Any, front: "WaveEncoder | SpectralEncoder") -> None:
        super().__init__()
        self.config, self.front = config, front
        self.sample_rate, self.hop, self.dim = int(config.sample_rate), front.hop, int(config.dim)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, int64 of any shape: floor((N - 1) / hop) + 1."""
        return num_frames(lengths, self.hop)

    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames [B, T, C] of wav [B, S] and frame counts [B]; lengths [B] are real samples (None: all of S)."""
        lengths = wav_lengths(wav, lengths)
        return self.front(wav, lengths), self.frame_lengths(lengths)

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """[frames] and frame counts; the only layer is 0."""
        if upto not in (None, 0):
            raise ValueError(f"layer {upto} does not exist: this encoder has layer 0 only")
        frames, counts = self(wav, lengths)
        return [frames], counts
