"""data2vec for speech (arXiv:2202.03555): wav2vec 2.0's architecture with layer norm in every convolution, post-norm
blocks in both sizes, and five small positional convolutions in place of one wide one.
"""

from dataclasses import dataclass
from typing import Literal

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
        super().__init__(config)


PRESETS = {
    "base": Config(),
    "large": Config(dim=1024, ffn_dim=4096, num_layers=24, num_heads=16),
}
