"""SEW's squeezed context network (arXiv:2109.06870, section 4.2): the transformer sees every `squeeze` frames as one.

Frames are pooled by averages, a strided convolution adds the positions, and after the transformer one linear map per
squeezed frame gives `squeeze` frames again.

Two frame rates live here. `layers`, and with it `hop`, `receptive_field` and `frame_lengths`, are about what the blocks
see (25 frames a second in the released models). `forward` gives the upsampled output at the convolutions' rate (50).

B utterances, S samples, T frames of the convolutions, C channels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conv import Moments
from speechssl.nn.lengths import valid_or_none, zero_padding
from speechssl.nn.positional import ConvPosition
from speechssl.nn.speech_encoder import Architecture, SpeechEncoder
from speechssl.nn.transformer import Transformer


def sew_conv(width: int) -> tuple[tuple[int, int, int], ...]:
    """SEW's convolutions: thin where frames are many, each followed by one of kernel 1; 8 * width channels out."""
    return (
        (width, 10, 5),
        *((2 * width, 3, 2), (2 * width, 1, 1)) * 2,
        *((4 * width, 3, 2), (4 * width, 1, 1)) * 2,
        *((8 * width, 2, 2), (8 * width, 1, 1)) * 2,
    )


class SqueezedEncoder(SpeechEncoder):
    """A `SpeechEncoder` with squeezed frames."""

    def __init__(self, config: Architecture, *, squeeze: int, transformer: Transformer | None = None) -> None:
        if squeeze < 1:
            raise ConfigError(f"squeeze={squeeze} must be at least 1")
        super().__init__(config, transformer=transformer)
        self.squeeze = squeeze
        self.hop = self.conv.hop * squeeze
        self.receptive_field = self.conv.receptive_field + (squeeze - 1) * self.conv.hop
        self.pos_conv = ConvPosition(config.dim, kernel=config.pos_conv_kernel, groups=config.pos_conv_groups,
                                     stride=squeeze)  # fmt: skip
        self.upsample = nn.Linear(config.dim, config.dim * squeeze)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Counts of squeezed frames for sample counts: floor((S - receptive_field) / hop) + 1 again, at least 0."""
        return self.conv.frame_lengths(lengths) // self.squeeze

    def frontend(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """Projected frames [B, T, C] before squeezing and their counts [B]."""
        x, _ = super().frontend(wav, lengths, moments=moments)
        samples = wav.new_full((len(wav),), wav.shape[1]).long() if lengths is None else lengths.to(wav.device)
        return x, self.conv.frame_lengths(samples)

    def context(self, x: Tensor, lengths: Tensor, *, upto: int | None = None) -> list[Tensor]:
        """Layers 0..upto, each [B, T // squeeze, C], zeros behind lengths[b] // squeeze frames, from x [B, T, C]."""
        if upto is not None and not 0 <= upto <= self.num_layers:
            raise ConfigError(f"layer {upto} does not exist: this encoder has layers 0..{self.num_layers}")
        x, valid = self._squeezed(x, lengths)
        return [zero_padding(state, valid) for state in self.transformer.states(x, valid, upto=upto)]

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None, moments: Moments | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Layers 0..upto (all by default) at the squeezed rate, zeros behind an utterance's end, and their counts."""
        x, lengths = self.frontend(wav, lengths, moments=moments)
        return self.context(x, lengths, upto=upto), lengths // self.squeeze

    def forward(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """Upsampled output [B, T, C] at the convolutions' rate and counts [B] of their frames, T being the largest.

        Frames that do not fill a squeezed one, at an utterance's end, are zero, as in the released models.
        """
        x, lengths = self.frontend(wav, lengths, moments=moments)
        return self.finish(x, lengths), lengths

    def finish(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Upsampled output [B, T, C] from the front end's x [B, T, C]; see `forward`."""
        squeezed, valid = self._squeezed(x, lengths)
        y = F.gelu(self.upsample(self.transformer(squeezed, valid)))
        y = y.unflatten(2, (self.squeeze, self.dim)).flatten(1, 2)
        y = zero_padding(y, valid_or_none(lengths // self.squeeze * self.squeeze, y.shape[1]))
        return F.pad(y, (0, 0, 0, x.shape[1] - y.shape[1]))

    def _squeezed(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        x = zero_padding(x, valid_or_none(lengths, x.shape[1]))
        count = x.shape[1] // self.squeeze
        pooled = x[:, : count * self.squeeze].unflatten(1, (count, self.squeeze)).mean(2)
        return pooled + self.pos_conv(x)[:, :count], valid_or_none(lengths // self.squeeze, count)
