"""Small configs of every encoder family, as plain values: one entry per layout. A new family goes here."""

from typing import Any

CONV = ((16, 10, 5), *((24, 3, 2),) * 4, *((24, 2, 2),) * 2)
BASE: dict[str, Any] = {
    "conv_layers": CONV, "dim": 32, "ffn_dim": 48, "num_layers": 3, "num_heads": 4, "pos_conv_kernel": 16,
    "pos_conv_groups": 4,
}  # fmt: skip
LARGE: dict[str, Any] = {**BASE, "conv_norm": "layer", "conv_bias": True, "norm_first": True}
MEL: dict[str, Any] = {key: value for key, value in BASE.items() if key != "conv_layers"}
SQUEEZED: dict[str, Any] = {**BASE, "pos_conv_kernel": 7}
HALF: tuple[tuple[int, int, int], ...] = ((16, 10, 5), (16, 8, 4), *((16, 4, 2),) * 3)  # 100 Hz
# Parameters that no output has a gradient for, because they learn from the objective alone.
UNREACHED = {
    "vq_wav2vec": {"quantizer.codebook"},  # of k-means: gradients pass it straight through
    # of the whole encoder, behind the last block's feed-forward network
    "feed_forward": {
        f"encoder.transformer.{name}.{kind}"
        for name in ("layers.2.ffn_norm", "layers.1.ffn_norm", "norm")
        for kind in ("weight", "bias")
    },
}
# By how much a batch may differ from one by one, relative to the largest value, where 1e-5 is not to be had.
TOLERANCE = {"feed_forward": 1e-4}  # of two frames all but alike, unit variance makes the rounding as large as they are

TINY: dict[str, list[dict[str, Any]]] = {
    "codec_mel": [{"dim": 6, "channels": 12, "num_blocks": 2, "num_mels": 10}],
    "codec_wave": [
        {"dim": 6, "channels": 2, "strides": (4, 8, 10), "dilations": (1, 3)},
        {"dim": 6, "channels": 2, "strides": (16, 20), "kernel": 5, "dilations": (2,), "activation": "leaky_relu"},
    ],
    "conformer": [
        {"num_mels": 20, "dim": 24, "ffn_dim": 32, "num_layers": 2, "kernel": 5},
        {
            "num_mels": 20,
            "dim": 24,
            "ffn_dim": 32,
            "num_layers": 2,
            "kernel": 3,
            "relative": False,
            "conv_norm": "group",
        },
        {"num_mels": 20, "dim": 24, "ffn_dim": 32, "num_layers": 1, "kernel": 7, "conv_norm": "batch"},
    ],
    "cpc": [
        {"conv_layers": HALF, "dim": 12},
        {"conv_layers": HALF, "dim": 16, "norm": "none", "context": "gru", "context_layers": 2},
    ],
    "data2vec_audio": [{**BASE, "pos_conv_kernel": 5}, {**BASE, "pos_conv_kernel": 6}],
    "data2vec2_audio": [
        {**BASE, "pos_conv_kernel": 5, "pos_conv_depth": 2},
        {**BASE, "num_heads": 8, "norm_first": True},
    ],
    "fbank": [{"num_mels": 20}, {"num_mels": 20, "cmvn": "global"}, {"num_mels": 16, "cmvn": "none"}],
    "feed_forward": [
        {"family": "hubert", "encoder": BASE},
        {"family": "hubert", "encoder": LARGE},
        {"family": "tdnn", "encoder": {"num_mels": 20, "dim": 32, "ffn_dim": 48, "dilations": (1, 2)}},
    ],
    "front_end": [
        {"conv_layers": CONV},
        {"conv_layers": CONV, "conv_norm": "layer", "conv_bias": True, "norm": False},
        {"conv_layers": (), "num_mels": 20},
    ],
    "hubert": [BASE, LARGE, {**BASE, "pos_conv_norm": "batch", "projection_norm": False}],
    "melhubert": [{**MEL, "num_mels": 20}, {**MEL, "num_mels": 16, "projection": False, "norm_first": True}],
    "mfcc": [{}, {"cmvn": True}],
    "sew": [{**SQUEEZED, "projection": True}, {**SQUEEZED, "dim": 24, "squeeze": 3}],
    "sew_d": [
        {**SQUEEZED, "num_buckets": 8, "max_distance": 16},
        {**SQUEEZED, "num_buckets": 0, "max_distance": 16, "share_keys": False, "relative_norm": False},
    ],
    "tdnn": [
        {"num_mels": 20, "dim": 32, "ffn_dim": 48, "dilations": (1, 2), "norm_first": True},
        {
            "num_mels": 16,
            "dim": 32,
            "ffn_dim": 48,
            "dilations": (2, 3, 1),
            "kernel": 5,
            "projection": False,
            "projection_norm": True,
        },
    ],
    "unispeech_sat": [BASE, LARGE],
    "vq_wav2vec": [
        {"conv_layers": HALF, "context_kernels": (2, 3, 4), "entries": 5},
        {"conv_layers": HALF, "context_kernels": (2, 3), "entries": 5, "quantizer": "kmeans", "shared": False},
        {"conv_layers": HALF, "context_kernels": (2,), "entries": 5, "quantizer": "kmeans", "kmeans_norm": "channel"},
    ],
    "wav2vec": [
        {"conv_layers": HALF, "context_kernels": (3, 3, 3)},
        {
            "conv_layers": (*HALF, (16, 1, 1)),
            "context_kernels": (2, 3, 4),
            "skip": True,
            "log_compression": True,
            "context_zero_pad": True,
        },
    ],
    "wav2vec2": [BASE, LARGE, {**BASE, "dim": 24, "projection": False, "pos_conv_kernel": 7}],
    "zipformer": [
        {"num_mels": 20, "dim": 24, "ffn_dim": 32, "num_blocks": (1, 2, 1), "factors": (1, 3, 2), "kernel": 5},
        {"num_mels": 20, "dim": 24, "ffn_dim": 32, "num_blocks": (2,), "factors": (1,), "kernel": 3},
    ],
    "wavlm": [{**BASE, "num_buckets": 16, "max_distance": 20}, {**LARGE, "num_buckets": 16, "max_distance": 20}],
}
