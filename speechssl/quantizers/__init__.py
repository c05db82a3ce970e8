"""Quantizers: frames to ids and back. One kind per file; the module's name is the kind's name."""

from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor


@runtime_checkable
class Quantizer(Protocol):
    """What every quantizer offers. N frames of C channels, V units."""

    @property
    def size(self) -> int:
        """V, the number of units."""
        ...

    @property
    def dim(self) -> int:
        """C."""
        ...

    def encode(self, frames: Tensor) -> Tensor:
        """Ids [N] int64 of frames [N, C] (any leading shape); deterministic, ties go to the lower id."""
        ...

    def decode(self, ids: Tensor) -> Tensor:
        """Frames [N, C] for ids [N]: the codebook's entries."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` of the same class needs, for safetensors."""
        ...


@runtime_checkable
class SoftQuantizer(Quantizer, Protocol):
    """A quantizer that knows more than the unit it chooses. D dimensions."""

    def soft(self, frames: Tensor) -> Tensor:
        """Soft units [..., D] float32 of frames [..., C]."""
        ...


@runtime_checkable
class SequenceQuantizer(Quantizer, Protocol):
    """A quantizer whose ids are no units yet: those are known of a whole utterance only. T frames, N units."""

    def sequence(self, ids: np.ndarray) -> np.ndarray:
        """Units [N] of the ids [T] of all frames of an utterance."""
        ...
