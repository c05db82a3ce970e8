"""Small configs of every encoder family, as plain values: one entry per layout. A new family goes here."""

from typing import Any

CONV = ((16, 10, 5), *((24, 3, 2),) * 4, *((24, 2, 2),) * 2)
BASE: dict[str, Any] = {
    "conv_layers": CONV, "dim": 32, "ffn_dim": 48, "num_layers": 3, "num_heads": 4, "pos_conv_kernel": 16,
    "pos_conv_groups": 4,
}  # fmt: skip
LARGE: dict[str, Any] = {**BASE, "conv_norm": "layer", "conv_bias": True, "norm_first": True}
SQUEEZED: dict[str, Any] = {**BASE, "pos_conv_kernel": 7}

TINY: dict[str, list[dict[str, Any]]] = {
    "data2vec_audio": [{**BASE, "pos_conv_kernel": 5}, {**BASE, "pos_conv_kernel": 6}],
    "hubert": [BASE, LARGE, {**BASE, "pos_conv_norm": "batch", "projection_norm": False}],
    "mfcc": [{}, {"cmvn": True}],
    "sew": [{**SQUEEZED, "projection": True}, {**SQUEEZED, "dim": 24, "squeeze": 3}],
    "sew_d": [
        {**SQUEEZED, "num_buckets": 8, "max_distance": 16},
        {**SQUEEZED, "num_buckets": 0, "max_distance": 16, "share_keys": False, "relative_norm": False},
    ],
    "unispeech_sat": [BASE, LARGE],
    "wav2vec2": [BASE, LARGE, {**BASE, "dim": 24, "projection": False, "pos_conv_kernel": 7}],
    "wavlm": [{**BASE, "num_buckets": 16, "max_distance": 20}, {**LARGE, "num_buckets": 16, "max_distance": 20}],
}
