"""Small configs of every encoder family, as plain values: one line per layout worth testing. Add a family, add it here."""

from typing import Any

CONV = ((16, 10, 5), *((24, 3, 2),) * 4, *((24, 2, 2),) * 2)
BASE: dict[str, Any] = {
    "conv_layers": CONV, "dim": 32, "ffn_dim": 48, "num_layers": 3, "num_heads": 4, "pos_conv_kernel": 16,
    "pos_conv_groups": 4,
}  # fmt: skip
LARGE: dict[str, Any] = {**BASE, "conv_norm": "layer", "conv_bias": True, "norm_first": True}

TINY: dict[str, list[dict[str, Any]]] = {
    "data2vec_audio": [{**BASE, "pos_conv_kernel": 5}, {**BASE, "pos_conv_kernel": 6}],
    "hubert": [BASE, LARGE, {**BASE, "pos_conv_norm": "batch", "projection_norm": False}],
    "mfcc": [{}, {"cmvn": True}],
    "wav2vec2": [BASE, LARGE, {**BASE, "dim": 24, "projection": False, "pos_conv_kernel": 7}],
}
