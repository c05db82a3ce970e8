"""SEW, squeezed and efficient wav2vec 2.0 (arXiv:2109.06870): a slimmer front end, half the frames in the transformer.

The layers have 25 frames a second, the final output 50; see `nn.squeeze`.
"""

from dataclasses import dataclass

from speechssl.nn.speech_encoder import Architecture
from speechssl.nn.squeeze import SqueezedEncoder, sew_conv


@dataclass(frozen=True)
class Config(Architecture):
    """Defaults: SEW-tiny. `projection` is there where the convolutions' channels differ from `dim`."""

    conv_layers: tuple[tuple[int, int, int], ...] = sew_conv(64)
    projection: bool = False
    dim: int = 512
    ffn_dim: int = 2048
    num_heads: int = 8
    pos_conv_kernel: int = 31
    squeeze: int = 2  # squeeze_factor


class Model(SqueezedEncoder):
    """Waveform [B, S] at 16 kHz to layers of 25 frames a second."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, squeeze=config.squeeze)


# scripts/pt-sew.sh of the authors' release
PRESETS = {
    "tiny": Config(),
    "small": Config(projection=True, dim=768, ffn_dim=3072, num_heads=12),
    "mid": Config(projection=True, dim=768, ffn_dim=3072, num_heads=12, num_layers=24),
}
