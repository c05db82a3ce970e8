"""The front end of an encoder of the wav2vec 2.0 kind, alone: what wav2vec 2.0's codebooks (arXiv:2006.11477) look at.

Convolutions over the waveform (or log-mel frames) and the layer norm behind them, nothing more: no projection, no
positions, no blocks. These frames are no layer of the whole encoder, whose layer 0 lies behind all three; here they are
layer 0, the only one. Equal to `extract_features` of transformers' Wav2Vec2Model.

B utterances, S samples, T frames, C channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conv import ConvStack, Moments
from speechssl.nn.lengths import valid_or_none, wav_lengths, zero_padding
from speechssl.nn.mel_frontend import MelFrontEnd, check_mel
from speechssl.nn.speech_encoder import WAV2VEC2_CONV, Architecture, SpeechEncoder, front_end_moments


@dataclass(frozen=True)
class Config:
    """Defaults: wav2vec 2.0 base's. The names are those of the encoders that a front end is part of."""

    sample_rate: int = 16_000  # Hz
    conv_layers: tuple[tuple[int, int, int], ...] = WAV2VEC2_CONV  # none: log-mel frames
    conv_bias: bool = False
    conv_norm: Literal["group", "layer"] = "group"
    num_mels: int = 0  # of log-mel frames in place of convolutions
    norm: bool = True  # projection_norm
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what cannot be built or would have no effect."""
        if bool(self.conv_layers) == bool(self.num_mels):
            raise ConfigError("a front end has conv_layers or num_mels, one of them")
        if self.num_mels:
            check_mel("front_end", self.num_mels, self.sample_rate)
            if self.conv_bias or self.conv_norm != "group":
                raise ConfigError("conv_bias and conv_norm have no effect on log-mel frames")
        elif min(min(layer) for layer in self.conv_layers) < 1:
            raise ConfigError(f"conv_layers needs (channels, kernel, stride) triples >= 1, got {self.conv_layers}")


class Model(nn.Module):
    """Waveform [B, S] to frames [B, T, C]; see `speechssl.encoders.Encoder` for the contract."""

    num_layers = 0

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate = config.sample_rate
        self.conv: ConvStack | MelFrontEnd
        if config.num_mels:
            self.conv = MelFrontEnd(num_mels=config.num_mels, sample_rate=config.sample_rate)
        else:
            self.conv = ConvStack(config.conv_layers, norm=config.conv_norm, bias=config.conv_bias)
        self.hop, self.receptive_field, self.dim = self.conv.hop, self.conv.receptive_field, self.conv.dim
        self.norm = nn.LayerNorm(self.dim, eps=config.layer_norm_eps) if config.norm else nn.Identity()

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, both int64 of any shape."""
        return self.conv.frame_lengths(lengths)

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """As `SpeechEncoder.recording_moments`."""
        return front_end_moments(self.conv, blocks)

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None, moments: Moments | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Layer 0 [B, T, C] with zeros behind an utterance's end, and the frame counts [B]."""
        if upto not in (None, 0):
            raise ConfigError(f"layer {upto} does not exist: a front end has layer 0 alone")
        x, counts = self(wav, lengths, moments=moments)
        return [x], counts

    def forward(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """The same frames [B, T, C], and their counts [B]."""
        lengths = wav_lengths(wav, lengths)
        x, counts = self.norm(self.conv(wav, lengths, moments=moments)), self.frame_lengths(lengths)
        return zero_padding(x, valid_or_none(counts, x.shape[1])), counts


def part_of(encoder: nn.Module) -> Model:
    """A copy of a trained encoder's front end, in eval mode. ConfigError where it has none of this kind."""
    if not isinstance(encoder, SpeechEncoder):
        raise ConfigError(f"an encoder of class {type(encoder).__module__} has no front end of wav2vec 2.0's kind")
    config, norm = encoder.config, encoder.projection.norm
    if isinstance(config, Architecture):
        values = {name: getattr(config, name) for name in ("conv_layers", "conv_bias", "conv_norm")}
    else:
        values = {"conv_layers": (), "num_mels": encoder.conv.num_mels}
    if isinstance(norm, nn.LayerNorm):
        values["layer_norm_eps"] = norm.eps
    model = Model(Config(sample_rate=config.sample_rate, norm=isinstance(norm, nn.LayerNorm), **values))
    model.conv.load_state_dict(encoder.conv.state_dict())
    model.norm.load_state_dict(norm.state_dict())
    return model.eval().requires_grad_(False)


PRESETS = {"base": Config()}
