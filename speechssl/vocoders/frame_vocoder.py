"""What vocoders have in common, whatever their frames are made of: a generator, fast where it can be, and pieces.

B utterances, T frames, C channels, S samples.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from speechssl.nn.fast import wave
from speechssl.nn.wave_generator import SpectralGenerator, WaveGenerator

PIECE = 500  # frames that are made at once


class FrameVocoder(nn.Module):
    """A subclass sets `generator`, after what comes before it."""

    generator: WaveGenerator | SpectralGenerator
    _fast: wave.FastWaveGenerator | None = None

    @property
    def hop(self) -> int:
        """Samples of a frame of the generator."""
        return self.generator.hop

    def sound(self, frames: Tensor, valid: Tensor | None = None) -> Tensor:
        """wav [B, T * hop] of the generator's frames [B, T, C]; `valid` [B, T] are real ones (None: all)."""
        if self._fast is None or valid is not None or frames.device.type != "cpu" or torch.is_grad_enabled():
            return self.generator(frames, valid)
        return self._fast(frames)

    def accelerate(self, dtype: torch.dtype = torch.float32) -> bool:
        """Rebuild the generator, with the weights it has now, for use on a CPU; whether that is possible here.

        The same samples up to the rounding of dtype wherever no gradient is asked for. What is stored stays.
        """
        if wave.supports(self.generator) and wave.available(dtype):
            assert isinstance(self.generator, WaveGenerator)
            self._fast = wave.FastWaveGenerator(self.generator, dtype)
        return self._fast is not None

    def in_pieces(self, make: Callable[[slice], Tensor], frames: int, size: int = PIECE) -> Iterator[Tensor]:
        """wav [S] of so many frames in pieces of `size`, each made with as many neighbours as it depends on.

        make: wav of a stretch of frames.
        """
        left, right = self.generator.reach
        for start in range(0, frames, size):
            first = max(0, start - left)
            made = make(slice(first, start + size + right))
            yield made[(start - first) * self.hop :][: size * self.hop]


def num_frames(lengths: Tensor, hop: int) -> Tensor:
    """Frames that cover so many samples, the last one partly."""
    return torch.div(lengths + hop - 1, hop, rounding_mode="floor")
