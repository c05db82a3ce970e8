"""Every family that `transformers` has too: its cases, and how one becomes a pair. Such a new family goes here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    UniSpeechSatConfig,
    UniSpeechSatModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from speechssl.encoders import data2vec_audio, hubert, sew, sew_d, unispeech_sat, wav2vec2, wavlm
from tests.encoders.hf import hf_config_values, hf_pair, shrink, small_presets
from tests.encoders.parity import Pair
from tests.encoders.squeezed import sew_d_pair, sew_pair


@dataclass(frozen=True)
class Family:
    """What is compared, and how: `pair` makes the pair of a config in a dtype."""

    pair: Callable[[Any, torch.dtype], Pair]
    small: Mapping[str, Any]
    full_size: Mapping[str, Any] = field(default_factory=dict)  # for the tests marked `large`
    gradients: tuple[torch.dtype, ...] = (torch.float32, torch.float64)


def wav2vec2_pair(config: wav2vec2.Config, dtype: torch.dtype) -> Pair:
    oracle = Wav2Vec2Model(Wav2Vec2Config(**hf_config_values(config)))
    return hf_pair(wav2vec2.Model(config), oracle, dtype=dtype)


def hubert_pair(config: hubert.Config, dtype: torch.dtype) -> Pair:
    values = hf_config_values(config) | {
        "conv_pos_batch_norm": config.pos_conv_norm == "batch",
        "feat_proj_layer_norm": config.projection_norm,
    }
    return hf_pair(hubert.Model(config), HubertModel(HubertConfig(**values)), dtype=dtype)


def data2vec_audio_pair(config: data2vec_audio.Config, dtype: torch.dtype) -> Pair:
    values = hf_config_values(config) | {
        "conv_pos_kernel_size": config.pos_conv_kernel,
        "num_conv_pos_embeddings": config.pos_conv_depth,
    }
    return hf_pair(data2vec_audio.Model(config), Data2VecAudioModel(Data2VecAudioConfig(**values)), dtype=dtype)


def unispeech_sat_pair(config: unispeech_sat.Config, dtype: torch.dtype) -> Pair:
    oracle = UniSpeechSatModel(UniSpeechSatConfig(**hf_config_values(config)))
    return hf_pair(unispeech_sat.Model(config), oracle, dtype=dtype)


def wavlm_pair(config: wavlm.Config, dtype: torch.dtype) -> Pair:
    values = hf_config_values(config) | {"attn_implementation": None}
    oracle = WavLMModel(WavLMConfig(**values, num_buckets=config.num_buckets, max_bucket_distance=config.max_distance))
    names = {"transformer.relative_embedding.weight": "encoder.layers.0.attention.rel_attn_embed.weight"}
    for i in range(config.num_layers):
        ours, theirs = f"transformer.layers.{i}.attention.gate", f"encoder.layers.{i}.attention.gru_rel_pos"
        names |= {f"{ours}_scale": f"{theirs}_const", f"{ours}.weight": f"{theirs}_linear.weight"}
        names[f"{ours}.bias"] = f"{theirs}_linear.bias"
    return hf_pair(wavlm.Model(config), oracle, dtype=dtype, more_names=names)


_WAV2VEC2 = shrink(wav2vec2.PRESETS["base"])
# few buckets and a short reach, so that a second of audio uses every one
_FEW = {"num_buckets": 24, "max_distance": 12}
_SEW, _SEW_SMALL = shrink(sew.PRESETS["tiny"]), shrink(sew.PRESETS["small"])
# 12 channels per head: transformers rounds the scale sqrt(3 * 12) = 6 to float32, also in float64.
# Few buckets and a short reach, so that half a second of audio goes beyond both.
SEW_D = replace(shrink(sew_d.PRESETS["tiny"]), dim=48, num_buckets=6, max_distance=8)

FAMILIES = {
    "wav2vec2": Family(
        wav2vec2_pair,
        small_presets(wav2vec2.PRESETS) | {
            "eps": replace(_WAV2VEC2, layer_norm_eps=1e-3),
            "odd-kernel": replace(_WAV2VEC2, pos_conv_kernel=7),
            "group-norm-with-bias": replace(_WAV2VEC2, conv_bias=True),
            "group-norm-pre-norm": replace(_WAV2VEC2, norm_first=True),
        },
        full_size={"large-lv60": wav2vec2.PRESETS["large-lv60"]},
    ),
    "hubert": Family(
        hubert_pair,
        small_presets(hubert.PRESETS) | {
            "no-projection-norm": replace(shrink(hubert.PRESETS["base"]), projection_norm=False),  # DistilHuBERT
            "large-conv-bias": replace(shrink(hubert.PRESETS["large"]), conv_bias=True),  # as Hugging Face stores it
        },
        full_size={"base": hubert.PRESETS["base"]},
    ),
    "data2vec_audio": Family(data2vec_audio_pair, small_presets(data2vec_audio.PRESETS)),
    "unispeech_sat": Family(
        unispeech_sat_pair,
        {name: shrink(unispeech_sat.PRESETS[name]) for name in ("base", "large")},
        gradients=(torch.float64,),
    ),
    "wavlm": Family(
        wavlm_pair,
        {name: replace(shrink(wavlm.PRESETS[name]), **_FEW) for name in ("base", "large")},
        full_size={"base": wavlm.PRESETS["base"]},
    ),
    "sew": Family(
        sew_pair,
        {
            "tiny": _SEW,
            "small": _SEW_SMALL,
            "even-kernel": replace(_SEW, pos_conv_kernel=16),
            "squeeze-3": replace(_SEW, squeeze=3),
            "squeeze-1": replace(_SEW, squeeze=1),
            "layer-norm": replace(_SEW_SMALL, conv_norm="layer", conv_bias=True),
        },
    ),
    "sew_d": Family(
        sew_d_pair,
        {
            "tiny": SEW_D,
            "no-projection": replace(SEW_D, projection=False, conv_layers=(*SEW_D.conv_layers[:-1], (48, 1, 1))),
            "rows-per-distance": replace(SEW_D, num_buckets=0, max_distance=4),
            "own-position-keys": replace(SEW_D, share_keys=False),
            "no-relative-norm": replace(SEW_D, relative_norm=False),
            "layer-norm": replace(SEW_D, conv_norm="layer", conv_bias=True),
        },
        gradients=(torch.float64,),
    ),
}  # fmt: skip


def small_pair(family: str, name: str, dtype: torch.dtype) -> Pair:
    """The pair of one of the small configs."""
    return FAMILIES[family].pair(FAMILIES[family].small[name], dtype)
