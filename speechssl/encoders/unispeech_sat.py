"""UniSpeech-SAT (arXiv:2110.05752): HuBERT's architecture, trained with an utterance-wise contrastive loss and mixed
speakers. What training adds (quantizers, speaker projections) is not part of the encoder.
"""

from dataclasses import dataclass

from speechssl.nn.speech_encoder import Architecture, SpeechEncoder


@dataclass(frozen=True)
class Config(Architecture):
    """Defaults: base and base+ (which differ in training data only)."""


class Model(SpeechEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 50 a second."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)


PRESETS = {
    "base": Config(),
    "base-plus": Config(),
    "large": Config(dim=1024, ffn_dim=4096, num_layers=24, num_heads=16, norm_first=True, conv_norm="layer"),
}
