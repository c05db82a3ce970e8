"""CPC (arXiv:1807.03748) and the modified CPC of arXiv:2002.02848: convolutions and a recurrent network, 100 Hz.

Layer 0 is z, layer 1 is c. The original has no norm, 512 channels and a GRU of 256; the modified one normalises over
channels and has 256 channels throughout and an LSTM.
differs: the convolutions are not padded (the released code adds zeros at every layer, which shifts the frames), and
the channel norm's variance is the biased one.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F

from speechssl.errors import ConfigError
from speechssl.nn.causal import Recurrent
from speechssl.nn.causal_encoder import CausalEncoder
from speechssl.nn.conv import ConvStack


@dataclass(frozen=True)
class Config:
    """Defaults: the modified CPC."""

    conv_layers: tuple[tuple[int, int, int], ...] = tuple(
        zip((256,) * 5, (10, 8, 4, 4, 4), (5, 4, 2, 2, 2), strict=True)
    )
    norm: Literal["layer", "none"] = "layer"  # "layer": over channels
    context: Literal["lstm", "gru"] = "lstm"
    context_layers: int = 1
    dim: int = 256  # of c

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if not self.conv_layers or min(min(layer) for layer in self.conv_layers) < 1:
            raise ConfigError(f"conv_layers needs (channels, kernel, stride) triples >= 1, got {self.conv_layers}")
        if min(self.context_layers, self.dim) < 1:
            raise ConfigError(f"context_layers={self.context_layers} and dim={self.dim} must be at least 1")


class Model(CausalEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 100 a second; layer 0 has the convolutions' channels."""

    def __init__(self, config: Config) -> None:
        conv = ConvStack(config.conv_layers, norm=config.norm, bias=True, activation=F.relu)
        network = Recurrent(conv.dim, config.dim, kind=config.context, num_layers=config.context_layers)
        super().__init__(config, conv, network, dim=config.dim)


PRESETS = {
    "original": Config(
        conv_layers=tuple((512, kernel, stride) for _, kernel, stride in Config.conv_layers), norm="none", context="gru"
    ),
    "modified": Config(),
}
