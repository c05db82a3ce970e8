"""A mel decoder by regression: units or features of speech to its mel, by the mean absolute error.

FastSpeech's loss (arXiv:1905.09263) with the recording's own durations. The absolute error wants the median of all mels
that a unit could have: smooth ones. See `vocoders.mel_decoder`. `encoder` gives the frame rate, and its layer where no
units are given; it is not trained.

B utterances, T frames, P numbers of a frame.
"""

import torch
from torch import Tensor

from speechssl.data.batch import Batch
from speechssl.objectives import Outcome
from speechssl.vocoders.mel_learning import MelLearner, example
from speechssl.vocoders.mel_learning import Settings as Config

__all__ = ["Config", "Objective", "absolute_loss"]


def absolute_loss(predicted: Tensor, mel: Tensor, valid: Tensor) -> Tensor:
    """Absolute error of [B, T, P]: the mean over P, summed over real frames `valid` [B, T]."""
    wide = torch.promote_types(predicted.dtype, torch.float32)
    return (predicted.to(wide) - mel.to(wide)).abs().mean(2)[valid].sum()


class Objective(MelLearner):
    """Regression of mels."""

    kind = "regression"

    def forward(self, batch: Batch) -> Outcome:
        """The loss over real frames; counts them."""
        found = example(self, batch)
        hidden = self.decoder.hidden(found.condition, found.valid)
        loss = absolute_loss(self.decoder.last(hidden), found.mel, found.valid)
        return Outcome(loss + found.aside, int(found.valid.sum()), found.scalars, hidden[found.valid].detach())
