"""WavLM (arXiv:2110.13900): HuBERT's architecture with a gated relative position bias in every attention."""

from dataclasses import dataclass

from speechssl.errors import ConfigError
from speechssl.nn.relative_bias import RelativeTransformer
from speechssl.nn.speech_encoder import Architecture, SpeechEncoder


@dataclass(frozen=True)
class Config(Architecture):
    """Defaults: base and base+ (which differ in training data only)."""

    num_buckets: int = 320  # num_buckets
    max_distance: int = 800  # max_distance; max_bucket_distance. In frames

    def __post_init__(self) -> None:
        """Refuse buckets that would overlap."""
        super().__post_init__()
        if self.num_buckets < 4 or self.num_buckets % 4 or self.max_distance <= self.num_buckets // 4:
            raise ConfigError(f"num_buckets={self.num_buckets} must be a multiple of 4 and "
                              f"max_distance={self.max_distance} more than a quarter of it")  # fmt: skip


class Model(SpeechEncoder):
    """Waveform [B, S] at 16 kHz to frames [B, T, C], 50 a second."""

    def __init__(self, config: Config) -> None:
        transformer = RelativeTransformer(
            dim=config.dim, ffn_dim=config.ffn_dim, num_layers=config.num_layers, num_heads=config.num_heads,
            norm_first=config.norm_first, eps=config.layer_norm_eps, num_buckets=config.num_buckets,
            max_distance=config.max_distance,
        )  # fmt: skip
        super().__init__(config, transformer=transformer)


PRESETS = {
    "base": Config(),
    "base-plus": Config(),
    "large": Config(dim=1024, ffn_dim=4096, num_layers=24, num_heads=16, norm_first=True, conv_norm="layer"),
}
