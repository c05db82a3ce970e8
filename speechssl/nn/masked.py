"""The first half of every masked objective: an encoder's front end, spans replaced by a learned vector, its context.

B utterances, S samples, T frames, C channels.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.gradients import scale_gradient
from speechssl.nn.lengths import valid_mask
from speechssl.nn.masking import SpanMask, channel_mask, span_mask
from speechssl.nn.mel_frontend import MelFrontEnd
from speechssl.nn.perturb import Perturbation, perturb
from speechssl.nn.speech_encoder import SpeechEncoder


@dataclass(frozen=True)
class Masking:
    """How frames are masked, and what else is done to the front end in training. The defaults are wav2vec 2.0 base's.

    After each field: its name in fairseq's configs.
    """

    time: SpanMask = field(default_factory=SpanMask)
    channels: SpanMask = field(default_factory=lambda: SpanMask(share=0.0, min_spans=0))  # mask_channel_*
    gradient: float = 0.1  # feature_grad_mult: of the convolutions' gradient
    dropout: float = 0.1  # dropout_input: of projected frames
    features_dropout: float = 0.1  # dropout_features: of frames before the projection that become targets
    perturb: Perturbation = field(default_factory=Perturbation)  # of log-mel frames, in training


@dataclass(frozen=True)
class MaskedFrames:
    """What went in."""

    x: Tensor  # [B, T, C] projected, masked frames: for `encoder.context` or `encoder.finish`
    lengths: Tensor  # [B] frames
    valid: Tensor  # [B, T]
    mask: Tensor  # [B, T] True: replaced by the mask vector; within `valid`
    projected: Tensor  # [B, T, C] not masked, without dropout: what a teacher sees
    normed: Tensor  # [B, T, C'] frames of the convolutions after their norm, not masked, before the projection
    penalty: Tensor  # [B] mean square of the convolutions' output over real frames


class MaskedInput(nn.Module):
    """Owns the mask vector [C], drawn from a uniform distribution as in the released code.

    ConfigError where the settings ask for what the encoder's front end does not have.
    """

    def __init__(self, encoder: SpeechEncoder, settings: Masking) -> None:
        super().__init__()
        if settings.perturb.active and not isinstance(encoder.conv, MelFrontEnd):
            raise ConfigError("masking.perturb changes log-mel frames: this encoder reads the waveform")
        self.settings = settings
        self.vector = nn.Parameter(torch.rand(encoder.dim), requires_grad=settings.time.draws)

    def forward(
        self, encoder: SpeechEncoder, wav: Tensor, lengths: Tensor, seeds: Tensor, *, mask: Tensor | None = None
    ) -> MaskedFrames:
        """Frames of wav [B, S] with spans masked; `mask` [B, T] overrules the drawn one."""
        settings = self.settings
        features = scale_gradient(self._features(encoder, wav, lengths, seeds), settings.gradient)
        frames = encoder.conv.frame_lengths(lengths)
        valid = valid_mask(frames, features.shape[1])
        penalty = mean_square(features, valid)
        normed = encoder.projection.norm(features)
        projected = encoder.projection.linear(normed)
        x = F.dropout(projected, settings.dropout, self.training)
        if mask is None:
            mask = span_mask(settings.time, frames, x.shape[1], seeds)
        x = torch.where(mask.unsqueeze(-1), self.vector.to(x.dtype), x)
        if settings.channels.share:
            hidden = channel_mask(settings.channels, x.shape[2], seeds + 1).to(x.device)
            x = x.masked_fill(hidden.unsqueeze(1), 0)
        normed = F.dropout(normed, settings.features_dropout, self.training)
        return MaskedFrames(x, frames, valid, mask & valid, projected, normed, penalty)

    def _features(self, encoder: SpeechEncoder, wav: Tensor, lengths: Tensor, seeds: Tensor) -> Tensor:
        settings = self.settings.perturb
        if not settings.active or not self.training or not isinstance(encoder.conv, MelFrontEnd):
            return encoder.conv(wav, lengths)
        return encoder.conv(
            wav, lengths, change=lambda mel, n: perturb(mel, n, seeds, settings, sample_rate=encoder.sample_rate)
        )


def mean_square(x: Tensor, valid: Tensor) -> Tensor:
    """Mean of x² [B, T, C] over each utterance's real frames, [B] float32.

    differs: fairseq's features_pen is one mean over the batch, padding included.
    """
    squares = x.float().square().mean(-1).masked_fill(~valid, 0)
    return squares.sum(1) / valid.sum(1).clamp(min=1)
