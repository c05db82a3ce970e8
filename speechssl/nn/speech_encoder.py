"""The architecture that wav2vec 2.0 (arXiv:2006.11477) gave to the field, as one configurable module.

Convolutions over the waveform, a projection, a convolutional positional embedding, a transformer. The families in
`speechssl.encoders` differ from it in constants or in one part, such as log-mel frames instead of the convolutions.

B utterances, S samples, T frames, C channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conv import ConvStack, Moments, TimeNorm
from speechssl.nn.fbank_frontend import FbankFrontEnd
from speechssl.nn.lengths import valid_or_none, wav_lengths, zero_padding
from speechssl.nn.mel_frontend import MelFrontEnd
from speechssl.nn.positional import ConvPosition, NoPosition, StackedConvPosition
from speechssl.nn.projection import FeatureProjection
from speechssl.nn.transformer import Transformer
from speechssl.nn.windows import conv_moments

FrontEnd = MelFrontEnd | FbankFrontEnd  # frames by a fixed transform
WAV2VEC2_CONV = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)


@dataclass(frozen=True)
class Blocks:
    """What decides the shapes and the maths behind the front end, whatever mixes frames in the blocks.

    Defaults here and below: wav2vec 2.0 base. After each field: its name in fairseq's and Hugging Face's configs.
    """

    sample_rate: int = 16_000  # Hz
    projection: bool = True  # post_extract_proj is there
    projection_norm: bool = True  # layer_norm; feat_proj_layer_norm
    dim: int = 768  # encoder_embed_dim; hidden_size
    ffn_dim: int = 3072  # encoder_ffn_embed_dim; intermediate_size
    norm_first: bool = False  # layer_norm_first; do_stable_layer_norm
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if min(self.dim, self.ffn_dim) < 1:
            raise ConfigError("dim and ffn_dim must be at least 1")
        if not self.projection and self.front_dim != self.dim:
            raise ConfigError(f"projection=false needs dim={self.front_dim}, the front end's, got {self.dim}")

    @property
    def front_dim(self) -> int:
        """Channels that the front end gives."""
        raise NotImplementedError


@dataclass(frozen=True)
class Context(Blocks):
    """A transformer behind a convolutional positional embedding."""

    num_layers: int = 12  # encoder_layers; num_hidden_layers
    num_heads: int = 12  # encoder_attention_heads; num_attention_heads
    pos_conv_kernel: int = 128  # conv_pos (conv_pos / pos_conv_depth if stacked); num_conv_pos_embeddings
    pos_conv_groups: int = 16  # conv_pos_groups; num_conv_pos_embedding_groups
    pos_conv_depth: int = 1  # pos_conv_depth; num_conv_pos_embeddings of data2vec
    pos_conv_norm: Literal["weight", "batch"] = "weight"  # conv_pos_batch_norm

    def __post_init__(self) -> None:
        """Refuse what cannot be built or would have no effect."""
        super().__post_init__()
        if min(self.num_heads, self.pos_conv_kernel, self.pos_conv_depth, self.pos_conv_groups) < 1:
            raise ConfigError("num_heads, pos_conv_kernel, _depth and _groups must be at least 1")
        if self.num_layers < 0 or self.dim % self.num_heads or self.dim % self.pos_conv_groups:
            raise ConfigError(f"dim={self.dim} must be a multiple of num_heads={self.num_heads} and of "
                              f"pos_conv_groups={self.pos_conv_groups}, num_layers={self.num_layers} >= 0")  # fmt: skip
        if self.pos_conv_depth > 1 and self.pos_conv_norm == "batch":
            raise ConfigError('pos_conv_norm="batch" has no effect with pos_conv_depth > 1')


@dataclass(frozen=True)
class Architecture(Context):
    """The same with convolutions over the waveform."""

    conv_layers: tuple[tuple[int, int, int], ...] = WAV2VEC2_CONV  # conv_feature_layers; conv_dim, _kernel, _stride
    conv_bias: bool = False  # conv_bias
    conv_norm: Literal["group", "layer"] = "group"  # extractor_mode default/layer_norm; feat_extract_norm

    def __post_init__(self) -> None:
        """Refuse what cannot be built or would have no effect."""
        if not self.conv_layers or min(min(layer) for layer in self.conv_layers) < 1:
            raise ConfigError(f"conv_layers needs (channels, kernel, stride) triples >= 1, got {self.conv_layers}")
        super().__post_init__()

    @property
    def front_dim(self) -> int:
        """Channels of the last convolution."""
        return self.conv_layers[-1][0]


class SpeechEncoder(nn.Module):
    """Waveform to frames; see `speechssl.encoders.Encoder` for the contract.

    A family passes its own `transformer` where plain attention does not do, and its own front end `conv` where it does
    not read the waveform by convolutions: what `nn.mel_frontend` offers. Training code that wants something between
    the parts (unmasked features, masking) calls `frontend`, then `context` for the layers or `finish` for the output.
    """

    attends: ClassVar[bool] = True  # whether blocks mix frames by attention alone; False: by convolutions, too

    def __init__(self, config: Blocks, *, transformer: Transformer | None = None, conv: FrontEnd | None = None) -> None:
        super().__init__()
        self.config: Any = config  # of a family without blocks one of its own
        self.sample_rate = config.sample_rate
        self.dim = config.dim
        eps = config.layer_norm_eps
        self.conv: ConvStack | FrontEnd
        if isinstance(config, Architecture):
            self.conv = ConvStack(config.conv_layers, norm=config.conv_norm, bias=config.conv_bias)
        elif conv is not None:
            self.conv = conv
        else:
            raise TypeError("an encoder without convolutions needs a front end")
        self.hop, self.receptive_field = self.conv.hop, self.conv.receptive_field
        self.projection = FeatureProjection(self.conv.dim, config.dim, norm=config.projection_norm,
                                            linear=config.projection, eps=eps)  # fmt: skip
        if isinstance(config, Context):
            self.pos_conv = _position(config)
            transformer = transformer or Transformer(
                dim=config.dim, ffn_dim=config.ffn_dim, num_layers=config.num_layers, num_heads=config.num_heads,
                norm_first=config.norm_first, eps=eps,
            )  # fmt: skip
        elif transformer is not None:
            self.pos_conv = NoPosition()
        else:
            raise TypeError("an encoder without attention needs its blocks")
        self.transformer = transformer
        self.num_layers = len(transformer.layers)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, both int64 of any shape."""
        return self.conv.frame_lengths(lengths)

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """The front end's statistics of a recording in blocks [S], for `moments=` with its pieces.

        None where convolutions have no group norm: then pieces need nothing of the whole, and nothing is read.
        """
        return front_end_moments(self.conv, blocks)

    def frontend(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """Projected frames [B, T, C] of wav [B, S], before positions and blocks, and the frame counts [B].

        `moments` are the front end's statistics of a whole recording of which `wav` is a piece.
        """
        lengths = wav_lengths(wav, lengths)
        return self.projection(self.conv(wav, lengths, moments=moments)), self.frame_lengths(lengths)

    def context(self, x: Tensor, lengths: Tensor, *, upto: int | None = None) -> list[Tensor]:
        """Layers 0..upto, each [B, T, C] with zeros behind lengths [B] frames, from the front end's x [B, T, C]."""
        if upto is not None and not 0 <= upto <= self.num_layers:
            raise ConfigError(f"layer {upto} does not exist: this encoder has layers 0..{self.num_layers}")
        valid = valid_or_none(lengths, x.shape[1])
        states = self.transformer.states(x + self.pos_conv(x, valid), valid, upto=upto)
        return [zero_padding(state, valid) for state in states]

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None, moments: Moments | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Layers 0..upto (all by default), each [B, T, C] with zeros behind an utterance's end, and the frame counts.

        `layers[0]` enters the first block, `layers[k]` is what block k returns (before any final norm).
        """
        x, lengths = self.frontend(wav, lengths, moments=moments)
        return self.context(x, lengths, upto=upto), lengths

    def forward(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """Final output [B, T, C] (normalised in pre-norm models), zeros behind an utterance's end; frame counts [B]."""
        x, lengths = self.frontend(wav, lengths, moments=moments)
        return self.finish(x, lengths), lengths

    def finish(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Final output [B, T, C] from the front end's x [B, T, C], or from what training put in its place."""
        valid = valid_or_none(lengths, x.shape[1])
        return zero_padding(self.transformer(x + self.pos_conv(x, valid), valid), valid)


def _position(config: Context) -> nn.Module:
    kernel, groups = config.pos_conv_kernel, config.pos_conv_groups
    if config.pos_conv_depth > 1:
        return StackedConvPosition(config.dim, kernel=kernel, groups=groups, depth=config.pos_conv_depth)
    return ConvPosition(config.dim, kernel=kernel, groups=groups, batch_norm=config.pos_conv_norm == "batch")


def front_end_moments(conv: ConvStack | FrontEnd, blocks: Iterable[Tensor]) -> Moments | None:
    """As `SpeechEncoder.recording_moments`, of its front end."""
    if not isinstance(conv, ConvStack):
        return conv.recording_moments(blocks)
    first = conv.layers[0]
    return conv_moments(blocks, first.conv) if isinstance(first.norm, TimeNorm) else None
