"""HuBERT (arXiv:2106.07447): wav2vec 2.0's architecture, trained to predict cluster ids. Also mHuBERT-147
(arXiv:2406.06371), whose positional embedding has a batch norm.
"""

from dataclasses import dataclass

from speechssl.nn.speech_encoder import Architecture, SpeechEncoder


@dataclass(frozen=True)
class Config(Architecture):
    """Defaults: the base model."""


class Model(SpeechEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 50 a second."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)


# The large models' convolutions have no bias in the release by the authors; Hugging Face's copies say conv_bias=true.
PRESETS = {
    "base": Config(),
    "large": Config(dim=1024, ffn_dim=4096, num_layers=24, num_heads=16, norm_first=True, conv_norm="layer"),
    "xlarge": Config(dim=1280, ffn_dim=5120, num_layers=48, num_heads=16, norm_first=True, conv_norm="layer"),
    "mhubert-147": Config(pos_conv_norm="batch"),
}
