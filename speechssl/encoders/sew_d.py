"""SEW-D (arXiv:2109.06870, section 4.3): SEW with DeBERTa's disentangled attention in the transformer.

The layers have 25 frames a second, the final output 50; see `nn.squeeze`.
"""

from dataclasses import dataclass, replace

from torch import nn

from speechssl.errors import ConfigError
from speechssl.nn.disentangled import DisentangledTransformer
from speechssl.nn.speech_encoder import Architecture
from speechssl.nn.squeeze import SqueezedEncoder, sew_conv


@dataclass(frozen=True)
class Config(Architecture):
    """Defaults: SEW-D-tiny. `projection` is there where the convolutions' channels differ from `dim`."""

    conv_layers: tuple[tuple[int, int, int], ...] = sew_conv(64)
    dim: int = 384
    ffn_dim: int = 1536
    num_heads: int = 6
    pos_conv_kernel: int = 31
    layer_norm_eps: float = 1e-7
    projection_norm_eps: float = 1e-5  # feature_layer_norm_eps
    squeeze: int = 2  # squeeze_factor
    num_buckets: int = 256  # position_buckets; 0: one row per distance
    max_distance: int = 512  # max_position_embeddings. In squeezed frames
    share_keys: bool = True  # share_att_key
    content_to_position: bool = True  # "c2p" in pos_att_type
    position_to_content: bool = True  # "p2c" in pos_att_type
    relative_norm: bool = True  # norm_rel_ebd = "layer_norm"

    def __post_init__(self) -> None:
        """Refuse what this architecture does not have."""
        super().__post_init__()
        if self.norm_first:
            raise ConfigError("SEW-D has post-norm blocks only: norm_first must be false")
        if self.num_buckets < 0 or self.num_buckets % 2 or self.max_distance < 2 + self.num_buckets // 2:
            raise ConfigError(f"num_buckets={self.num_buckets} must be even and max_distance={self.max_distance} more "
                              "than half of it")  # fmt: skip


class Model(SqueezedEncoder):
    """Waveform [B, S] at 16 kHz to layers of 25 frames a second."""

    def __init__(self, config: Config) -> None:
        transformer = DisentangledTransformer(
            dim=config.dim, ffn_dim=config.ffn_dim, num_layers=config.num_layers, num_heads=config.num_heads,
            eps=config.layer_norm_eps, num_buckets=config.num_buckets, max_distance=config.max_distance,
            share_keys=config.share_keys, content_to_position=config.content_to_position,
            position_to_content=config.position_to_content, relative_norm=config.relative_norm,
        )  # fmt: skip
        super().__init__(config, squeeze=config.squeeze, transformer=transformer)
        if isinstance(self.projection.norm, nn.LayerNorm):
            self.projection.norm.eps = config.projection_norm_eps


# scripts/pt-sew-d.sh of the authors' release
_MID = Config(projection=False, dim=512, ffn_dim=2048, num_heads=8, num_layers=24)
_BASE = Config(dim=768, ffn_dim=3072, num_heads=12, num_layers=24)
PRESETS = {
    "tiny": Config(),
    "small": replace(_MID, num_layers=12),
    "mid": _MID,
    "mid-k127": replace(_MID, pos_conv_kernel=127),
    "base": _BASE,
    "base-plus": replace(_BASE, projection=False, conv_layers=sew_conv(96)),
}
