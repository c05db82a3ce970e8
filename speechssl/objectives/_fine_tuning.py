"""What objectives share that fine-tune an encoder to write: what its head sees, the frozen start, errors counted.

B utterances, T frames, C channels, L symbols of a target.
"""

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.errors import DataError
from speechssl.metrics.edits import edit_distance
from speechssl.nn.frame_head import FrameHead, Head
from speechssl.nn.masked import MaskedInput, Masking
from speechssl.nn.speech_encoder import SpeechEncoder


class FineTuning(nn.Module):
    """An encoder with a head of `outputs`; masking.gradient = 0 freezes the front end for good."""

    in_step = False

    def __init__(
        self, encoder: SpeechEncoder, head: Head, outputs: int, *, masking: Masking, freeze_updates: int
    ) -> None:
        super().__init__()
        self.encoder, self.freeze_updates = encoder, freeze_updates
        self.masked = MaskedInput(encoder, masking)
        self.head = FrameHead(head, encoder, outputs)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        if masking.gradient == 0:
            encoder.conv.requires_grad_(False)
        for parameter in self.head.unused(encoder):
            parameter.requires_grad_(False)

    @property
    def skips_parameters(self) -> bool:
        """Whether some trained parameters get no gradient in some updates."""
        return self.freeze_updates > 0

    def states(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """What the head looks at, each [B, T, C], and real frames [B]; masked in training alone."""
        frozen = self.freeze_updates > 0 and int(self.updates) < self.freeze_updates
        with torch.no_grad() if frozen else nullcontext():
            if self.training:
                inputs = self.masked(self.encoder, batch.wav, batch.lengths, batch.seeds)
                x, frames = inputs.x, inputs.lengths
            else:
                x, frames = self.encoder.frontend(batch.wav, batch.lengths)
            return self.head.states(self.encoder, x, frames), frames

    def after_step(self, step: int) -> None:
        """Count updates, so that the encoder thaws."""
        self.updates.fill_(step)


def targets_of(batch: Batch, name: str) -> Tensor:
    """[B, L], -1 behind the ends. DataError where the batch has none; name: of the objective."""
    if batch.targets is None:
        raise DataError(f"{name} needs the text of utterances in its batches")
    return batch.targets


def token_errors(written: list[list[int]], targets: Tensor) -> int:
    """Symbols inserted, left out or replaced, over all utterances; targets [B, L], -1 behind the ends."""
    wanted = [[i for i in row if i >= 0] for row in targets.tolist()]
    return sum(edit_distance(np.array(a), np.array(b)) for a, b in zip(wanted, written, strict=True))
