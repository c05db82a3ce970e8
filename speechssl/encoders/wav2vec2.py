"""wav2vec 2.0 (arXiv:2006.11477) and its multilingual kin: XLSR-53 (arXiv:2006.13979), XLS-R (arXiv:2111.09296), MMS
(arXiv:2305.13516).

The models of these papers differ in size and in the layout of their norms only, see `PRESETS`.
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


def _pre_norm(dim: int, ffn_dim: int, num_layers: int) -> Config:
    return Config(dim=dim, ffn_dim=ffn_dim, num_layers=num_layers, num_heads=16, norm_first=True, conv_norm="layer",
                  conv_bias=True)  # fmt: skip


PRESETS = {
    "base": Config(),
    "large": Config(dim=1024, ffn_dim=4096, num_layers=24, num_heads=16),  # trained on LibriSpeech
    "large-lv60": _pre_norm(1024, 4096, 24),  # trained on Libri-Light
    "xlsr-53": _pre_norm(1024, 4096, 24),
    "xls-r-300m": _pre_norm(1024, 4096, 24),
    "xls-r-1b": _pre_norm(1280, 5120, 48),
    "xls-r-2b": _pre_norm(1920, 7680, 48),
    "mms-300m": _pre_norm(1024, 4096, 24),
    "mms-1b": _pre_norm(1280, 5120, 48),
}
