"""A mel decoder by regression: units or features of speech to its mel, by the mean absolute error.

FastSpeech's loss (arXiv:1905.09263) with the recording's own durations. The absolute error wants the median of all mels
that a unit could have: smooth ones. See `vocoders.mel_decoder`. `encoder` gives the frame rate, and its layer where no
units are given; it is not trained.

B utterances, T frames, P numbers of a frame.
"""

import torch
from torch import Tensor, nn

from speechssl.data.batch import Batch
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.objectives import Outcome
from speechssl.vocoders.mel_learning import Settings as Config
from speechssl.vocoders.mel_learning import example, make_decoder

__all__ = ["Config", "Objective", "absolute_loss"]


def absolute_loss(predicted: Tensor, mel: Tensor, valid: Tensor) -> Tensor:
    """Absolute error of [B, T, P]: the mean over P, summed over real frames `valid` [B, T]."""
    wide = torch.promote_types(predicted.dtype, torch.float32)
    return (predicted.to(wide) - mel.to(wide)).abs().mean(2)[valid].sum()


class Objective(nn.Module):
    """Regression of mels."""

    def __init__(self, encoder: SpeechEncoder, config: Config) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.config = config
        self.decoder = make_decoder(config, "regression", encoder.dim)

    def forward(self, batch: Batch) -> Outcome:
        """The loss over real frames; counts them."""
        found = example(self.decoder, self.encoder, self.config.layer, batch)
        hidden = self.decoder.hidden(found.condition, found.valid)
        loss = absolute_loss(self.decoder.last(hidden), found.mel, found.valid)
        return Outcome(loss + found.aside, int(found.valid.sum()), found.scalars, hidden[found.valid].detach())

    def after_step(self, step: int) -> None:
        """Nothing to do."""
