"""data2vec 2.0 for speech (arXiv:2212.07525): data2vec's architecture with attention biases that fall with distance."""

from dataclasses import dataclass
from typing import Literal

from speechssl.nn.alibi import AlibiTransformer
from speechssl.nn.speech_encoder import Architecture, SpeechEncoder


@dataclass(frozen=True)
class Config(Architecture):
    """Defaults: the base model."""

    conv_norm: Literal["group", "layer"] = "layer"
    pos_conv_kernel: int = 19
    pos_conv_depth: int = 5


class Model(SpeechEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 50 a second."""

    def __init__(self, config: Config) -> None:
        transformer = AlibiTransformer(
            dim=config.dim, ffn_dim=config.ffn_dim, num_layers=config.num_layers, num_heads=config.num_heads,
            norm_first=config.norm_first, eps=config.layer_norm_eps,
        )  # fmt: skip
        super().__init__(config, transformer=transformer)


PRESETS = {
    "base": Config(),
    "large": Config(dim=1024, ffn_dim=4096, num_layers=24, num_heads=16),
}
