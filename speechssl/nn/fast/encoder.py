"""A trained encoder rebuilt for inference on a CPU: in float32 the same features up to rounding, sooner.

`speechssl.nn.speech_encoder.SpeechEncoder` says what is computed and stays the reference; the tests compare. What is
different here: products go through oneDNN with packed weights (`linear`), the convolutions are products too and go by
tiles (`conv`), the positional convolution goes through the frequency domain (`position`), and an utterance is always
computed alone, without padding: a batch is a loop, in which nobody waits for the longest.
`tools/bench/encoder.py` measures what this gains.

In bfloat16 the weights and inputs of products are rounded, attention scores too; the first convolution, norms, the
residual stream and attention with relative positions stay float32.

The copy holds packed weights only, as many bytes as the encoder's own, and a spectrum of the positional convolution.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from speechssl.errors import ConfigError
from speechssl.nn.conv import Moments
from speechssl.nn.fast.blocks import FastTransformer
from speechssl.nn.fast.conv import FastConvStack, layer_norm
from speechssl.nn.fast.linear import PackedLinear, available
from speechssl.nn.fast.position import FastPosition
from speechssl.nn.lengths import check_lengths, frame_lengths
from speechssl.nn.mel_frontend import MelFrontEnd
from speechssl.nn.speech_encoder import SpeechEncoder
from speechssl.nn.windows import conv_moments

_METHODS = ("frontend", "context", "layers", "forward")


def supports_kind(model: type, dtype: torch.dtype = torch.float32) -> bool:
    """Whether there is a fast form of encoders of this class, and torch here has the operators for it in a dtype."""
    if not issubclass(model, SpeechEncoder) or not model.attends:
        return False
    own = all(getattr(model, name) is getattr(SpeechEncoder, name) for name in _METHODS)  # SEW's squeeze frames
    return own and available(dtype)


def supports(encoder: nn.Module, dtype: torch.dtype = torch.float32) -> bool:
    """Whether there is a fast form of this encoder as it is: of a kind that has one, on the CPU, in these dtypes."""
    if any(p.device.type != "cpu" or p.dtype not in (torch.float32, dtype) for p in encoder.parameters()):
        return False
    return supports_kind(type(encoder), dtype)


def accelerate(encoder: nn.Module, dtype: torch.dtype = torch.float32) -> "FastEncoder":
    """The fast form of an encoder, which is copied and may go; products in float32 or bfloat16.

    ConfigError where `supports` says no.
    """
    if not isinstance(encoder, SpeechEncoder) or not supports(encoder, dtype):
        raise ConfigError(f"no fast form of {type(encoder).__module__.rpartition('.')[2]} here: use the plain one")
    return FastEncoder(encoder, dtype)


class FastEncoder(nn.Module):
    """Offers what the encoder offers; see `speechssl.encoders.Encoder`. Inference only: no parameters, no gradient."""

    def __init__(self, encoder: SpeechEncoder, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = encoder.config
        self.sample_rate, self.hop, self.receptive_field = encoder.sample_rate, encoder.hop, encoder.receptive_field
        self.dim, self.num_layers = encoder.dim, encoder.num_layers
        front = encoder.conv  # log-mel frames are cheap as they are
        self._conv = _MelRow(front) if isinstance(front, MelFrontEnd) else FastConvStack(front, dtype)
        self._norm = layer_norm(encoder.projection.norm)
        linear = encoder.projection.linear
        self._linear = PackedLinear(linear.weight, linear.bias, dtype) if isinstance(linear, nn.Linear) else None
        self._position = FastPosition(encoder.pos_conv)
        self._transformer = FastTransformer(encoder.transformer, dtype)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, both int64 of any shape."""
        return frame_lengths(lengths, kernel=self.receptive_field, stride=self.hop)

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """As `SpeechEncoder.recording_moments`."""
        if isinstance(self._conv, _MelRow):
            return self._conv.front.recording_moments(blocks)
        return conv_moments(blocks, self._conv.first) if self._conv.needs_moments else None

    @torch.no_grad()
    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None, moments: Moments | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """As `SpeechEncoder.layers`."""
        if upto is not None and not 0 <= upto <= self.num_layers:
            raise ConfigError(f"layer {upto} does not exist: this encoder has layers 0..{self.num_layers}")
        lengths = self._lengths(wav, lengths)
        rows = [self._states(row[:n], upto, moments) for row, n in zip(wav, lengths.tolist(), strict=True)]
        return [pad_sequence(states, batch_first=True) for states in zip(*rows, strict=True)], self.frame_lengths(
            lengths
        )

    @torch.no_grad()
    def forward(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `SpeechEncoder.forward`."""
        lengths = self._lengths(wav, lengths)
        rows = [self._states(row[:n], None, moments)[-1] for row, n in zip(wav, lengths.tolist(), strict=True)]
        final = [self._transformer.final(row) for row in rows]
        return pad_sequence(final, batch_first=True), self.frame_lengths(lengths)

    def _lengths(self, wav: Tensor, lengths: Tensor | None) -> Tensor:
        if wav.ndim != 2:
            raise ValueError(f"wav must be [batch, samples], got shape {tuple(wav.shape)}")
        if lengths is None:
            return torch.full((wav.shape[0],), wav.shape[1])
        return check_lengths(lengths, *wav.shape)

    def _states(self, wav: Tensor, upto: int | None, moments: Moments | None) -> list[Tensor]:
        """States 0..upto [T, C] of one utterance [S]."""
        x = self._conv(wav.contiguous(), moments)
        if not len(x):
            return [wav.new_zeros(0, self.dim)] * ((self.num_layers if upto is None else upto) + 1)
        x = self._project(x)
        return list(self._transformer.states(x + self._position(x), upto))

    def _project(self, x: Tensor) -> Tensor:
        """As `FeatureProjection`."""
        x = x if self._norm is None else self._norm(x)
        return x if self._linear is None else self._linear(x).float()


class _MelRow(nn.Module):
    """Log-mel frames of one utterance."""

    def __init__(self, front: MelFrontEnd) -> None:
        super().__init__()
        self.front = front

    def forward(self, wav: Tensor, moments: Moments | None) -> Tensor:
        """Frames [T, C] of wav [S]."""
        return self.front(wav.unsqueeze(0), moments=moments)[0]
