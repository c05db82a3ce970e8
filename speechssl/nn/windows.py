"""Long recordings in bounded memory: overlapping windows on one grid of frames, and statistics of the whole recording.

A recording is an iterable of blocks, 1-d waveforms of any sizes, and is never held as one. What comes out of its
windows joins to exactly the frames of the whole: `floor((S - receptive_field) / hop) + 1`.

S samples, C channels, K samples of the first convolution's kernel.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conv import Moments

_PIECE = 1 << 20  # samples worked on at once: bounds memory where a caller passes one huge block


@runtime_checkable
class WholeRecording(Protocol):
    """An encoder whose features of a piece depend on statistics of the whole recording. `layers` takes `moments=`."""

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """The statistics, from one or more passes over the blocks; None where this config needs none and reads none."""
        ...


@dataclass(frozen=True)
class Window:
    """A stretch of a recording and which of its frames to keep."""

    samples: Tensor  # [S]
    keep: slice  # of the frames that `samples` gives
    whole: bool  # the only window, with every sample of the recording


@dataclass(frozen=True)
class Grid:
    """Where windows lie, in frames: each computes `size` frames and leaves out `overlap` at either end.

    The first keeps its beginning, the last its end; the last begins early enough to be as long as the others.
    """

    receptive_field: int  # samples of one frame
    hop: int  # samples from frame to frame
    size: int
    overlap: int

    def __post_init__(self) -> None:
        """Refuse windows that would keep nothing."""
        if self.overlap < 0 or self.size - 2 * self.overlap < 1:
            raise ConfigError(f"a window of {self.size} frames with an overlap of {self.overlap} at either end keeps "
                              "none: window_s must be more than twice overlap_s")  # fmt: skip

    @classmethod
    def of_seconds(cls, window_s: float, overlap_s: float, *, sample_rate: int, receptive_field: int,
                   hop: int) -> "Grid":  # fmt: skip
        """Windows of at most window_s, overlaps of at least overlap_s."""
        size = (round(window_s * sample_rate) - receptive_field) // hop + 1
        return cls(receptive_field, hop, size, -(-round(overlap_s * sample_rate) // hop))

    def windows(self, blocks: Iterable[Tensor]) -> Iterator[Window]:
        """Cut a recording; one window with all samples where it has no more than `size` frames, even none."""
        step = self.size - 2 * self.overlap
        buffer = _Buffer()
        start = kept = 0  # frames: where the next window begins, how many are done
        for piece in _pieces(blocks):
            buffer.append(piece)
            while (buffer.end - self.receptive_field) // self.hop + 1 > start + self.size:
                stop = (start + self.size - 1) * self.hop + self.receptive_field
                samples = buffer.between(start * self.hop, stop)
                yield Window(samples, slice(kept - start, self.size - self.overlap), whole=False)
                buffer.forget(start * self.hop)  # not further: the last window may begin anywhere behind this one
                kept = start + self.size - self.overlap
                start += step
        if not kept:
            yield Window(buffer.between(0, buffer.end), slice(None), whole=True)
            return
        start = (buffer.end - self.receptive_field) // self.hop + 1 - self.size
        yield Window(buffer.between(start * self.hop, buffer.end), slice(kept - start, None), whole=False)


class _Buffer:
    """The latest samples of a recording, addressed by their place in the whole of it."""

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._begin = 0
        self.end = 0

    def append(self, block: Tensor) -> None:
        self._blocks.append(block)
        self.end += len(block)

    def between(self, start: int, stop: int) -> Tensor:
        self._blocks = [torch.cat(self._blocks)] if len(self._blocks) != 1 and self._blocks else self._blocks
        return self._blocks[0][start - self._begin : stop - self._begin] if self._blocks else torch.zeros(0)

    def forget(self, start: int) -> None:
        # A copy, so that the memory behind it goes.
        self._blocks = [self.between(start, self.end).clone()]
        self._begin = start


class RunningMoments:
    """Mean and covariance over a stream of rows, in float64, by the pairwise update of Chan et al. (1979)."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self._scatter = torch.zeros(channels, channels, dtype=torch.float64)

    def update(self, rows: Tensor) -> None:
        """Take in rows [N, C]."""
        if not len(rows):
            return
        rows = rows.double().cpu()
        mean = rows.mean(0)
        centred = rows - mean
        delta, total = mean - self.mean, self.count + len(rows)
        between = torch.outer(delta, delta) * (self.count * len(rows) / total)
        self._scatter += centred.T @ centred + between
        self.mean += delta * (len(rows) / total)
        self.count = total

    def covariance(self) -> Tensor:
        """[C, C], biased (divided by the number of rows)."""
        return self._scatter / max(self.count, 1)


def wave_moments(blocks: Iterable[Tensor]) -> tuple[float, float]:
    """Mean and (biased) variance of all samples."""
    running = RunningMoments(1)
    for piece in _pieces(blocks):
        running.update(piece.unsqueeze(1))
    return float(running.mean), float(running.covariance())


def conv_moments(blocks: Iterable[Tensor], conv: nn.Conv1d) -> Moments:
    """Moments [1, C] float64 over time of what `conv` (one channel in, unpadded) makes of a whole recording.

    Convolved windows are linear in the windows: with their mean m [K] and covariance G [K, K] (K = 10: a hundred
    numbers whatever the length), a filter w gives the mean w.m + bias and the variance w'Gw. Nothing is convolved.
    """
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    running = RunningMoments(kernel)
    rest = torch.zeros(0)
    skip = 0  # samples between two windows, where the stride is larger than the kernel
    for piece in _pieces(blocks):
        rest = torch.cat([rest.to(piece), piece[skip:]])
        skip = max(0, skip - len(piece))
        if len(rest) >= kernel:
            rows = rest.unfold(0, kernel, stride)
            running.update(rows)
            skip = max(0, len(rows) * stride - len(rest))
            rest = rest[len(rows) * stride :]
    filters = conv.weight[:, 0].detach().double().cpu()
    bias = 0 if conv.bias is None else conv.bias.detach().double().cpu()
    mean = filters @ running.mean + bias
    return Moments(mean[None], ((filters @ running.covariance()) * filters).sum(1)[None])


def _pieces(blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    for block in blocks:
        if block.ndim != 1:
            raise ValueError(f"a block must be a waveform [samples], got shape {tuple(block.shape)}")
        yield from block.split(_PIECE)
