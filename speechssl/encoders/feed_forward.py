"""An encoder of another family, seen as the codebooks of DinoSR (arXiv:2305.10005) see their teacher.

Layer k is what the feed-forward network of block k gives, before the residual and the last norm, with zero mean and
unit variance of each channel over the utterance; layer 0 is that of the encoder. The final output is the last layer.

A recording longer than a window is normalised window by window, where a short one is normalised as a whole.

B utterances, T frames, C channels.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from speechssl import config as configs
from speechssl import encoders
from speechssl.errors import ConfigError
from speechssl.nn.conv import Moments
from speechssl.nn.ema import instance_norm, run_blocks
from speechssl.nn.lengths import valid_or_none, zero_padding
from speechssl.nn.speech_encoder import SpeechEncoder


@dataclass(frozen=True)
class Config:
    """Which encoder."""

    family: str = "hubert"  # one of `speechssl.encoders`, of the wav2vec 2.0 kind
    encoder: dict[str, Any] = field(default_factory=dict)  # values of that family's Config


class Model(nn.Module):
    """Waveform [B, S] to frames [B, T, C]; see `speechssl.encoders.Encoder` for the contract."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.family == __name__.rpartition(".")[2]:
            raise ConfigError("feed_forward is of another family's encoder, not of its own")
        self.encoder = encoders.build(config.family, config.encoder)
        if not isinstance(self.encoder, SpeechEncoder) or type(self.encoder).context is not SpeechEncoder.context:
            raise ConfigError(f"{config.family} has no blocks whose feed-forward networks could be looked at")
        plain = json.loads(json.dumps(configs.to_dict(self.encoder.config)))  # as a card gives them back
        self.config = replace(config, encoder=plain)
        own = self.encoder
        self.sample_rate, self.hop, self.receptive_field = own.sample_rate, own.hop, own.receptive_field
        self.dim, self.num_layers = own.dim, own.num_layers

    @property
    def transformer(self) -> nn.Module:
        """The blocks."""
        return self.encoder.transformer

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frame counts for sample counts, both int64 of any shape."""
        return self.encoder.frame_lengths(lengths)

    def recording_moments(self, blocks: Iterable[Tensor]) -> Moments | None:
        """As of the encoder: statistics of its front end, not of layers."""
        return self.encoder.recording_moments(blocks)

    def layers(
        self, wav: Tensor, lengths: Tensor | None = None, *, upto: int | None = None, moments: Moments | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Layers 0..upto (all by default), each [B, T, C] with zeros behind an utterance's end, and frame counts."""
        if upto is not None and not 0 <= upto <= self.num_layers:
            raise ConfigError(f"layer {upto} does not exist: this encoder has layers 0..{self.num_layers}")
        x, counts = self.encoder.frontend(wav, lengths, moments=moments)
        valid = valid_or_none(counts, x.shape[1])
        first, branches = run_blocks(self.encoder, x, valid, upto=upto)
        return [zero_padding(first, valid), *(instance_norm(branch, valid) for branch in branches)], counts

    def forward(
        self, wav: Tensor, lengths: Tensor | None = None, *, moments: Moments | None = None
    ) -> tuple[Tensor, Tensor]:
        """The last layer [B, T, C], and the frame counts [B]."""
        layers, counts = self.layers(wav, lengths, moments=moments)
        return layers[-1], counts


def view_of(family: str, encoder: SpeechEncoder) -> Model:
    """A model of an encoder's own values and weights, copied, in eval mode."""
    model = Model(Config(family, configs.to_dict(encoder.config)))
    model.encoder.load_state_dict(encoder.state_dict())
    return model.eval().requires_grad_(False)
