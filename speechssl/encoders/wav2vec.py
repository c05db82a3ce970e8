"""wav2vec (arXiv:1904.05862): convolutions over the waveform and causal convolutions over their frames, 100 Hz.

Layer 0 is z, layer 1 is c. Every convolution has a group norm of a single group, over channels and real frames.
"""

from dataclasses import dataclass

import torch.nn.functional as F

from speechssl.errors import ConfigError
from speechssl.nn.causal import CausalConvStack
from speechssl.nn.causal_encoder import CausalEncoder
from speechssl.nn.conv import ConvStack

_ENCODER = ((512, 10, 5), (512, 8, 4), *((512, 4, 2),) * 3)


@dataclass(frozen=True)
class Config:
    """Defaults: the paper's base model. After each field: its name in fairseq's configs."""

    conv_layers: tuple[tuple[int, int, int], ...] = _ENCODER  # conv_feature_layers
    context_kernels: tuple[int, ...] = (3,) * 9  # conv_aggregator_layers, all at stride 1, as wide as conv_layers' last
    context_bias: bool = True  # conv_bias of the aggregator
    context_zero_pad: bool = False  # agg_zero_pad; false: the first frame stands before the beginning
    skip: bool = False  # skip_connections_agg, with residual_scale 0.5
    log_compression: bool = False  # log_compression

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if not self.conv_layers or min(min(layer) for layer in self.conv_layers) < 1:
            raise ConfigError(f"conv_layers needs (channels, kernel, stride) triples >= 1, got {self.conv_layers}")
        if not self.context_kernels or min(self.context_kernels) < 1:
            raise ConfigError(f"context_kernels needs kernels >= 1, got {self.context_kernels}")


class Model(CausalEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 100 a second."""

    def __init__(self, config: Config) -> None:
        conv = ConvStack(config.conv_layers, norm="single", activation=F.relu)
        network = CausalConvStack(conv.dim, config.context_kernels, skip=config.skip, bias=config.context_bias,
                                  zero_pad=config.context_zero_pad)  # fmt: skip
        super().__init__(config, conv, network, dim=conv.dim, log_compression=config.log_compression)


PRESETS = {
    "base": Config(),
    "large": Config(conv_layers=(*_ENCODER, (512, 1, 1), (512, 1, 1)), context_kernels=tuple(range(2, 14)), skip=True,
                    log_compression=True),
}  # fmt: skip
