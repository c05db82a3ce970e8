"""Pairs of one of our encoders and its `transformers` model."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from speechssl.nn.speech_encoder import Architecture
from tests.encoders.parity import Outputs, Pair, fill_from_oracle, randomize


def shrink(config: Architecture, *, num_layers: int = 3) -> Any:
    """The same structure with small sizes: 1/16 of the width, 1/16 of the convolutions' channels, few layers."""
    conv_layers = tuple((channels // 16, kernel, stride) for channels, kernel, stride in config.conv_layers)
    return dataclasses.replace(
        config, conv_layers=conv_layers, dim=config.dim // 16, ffn_dim=config.ffn_dim // 16, num_heads=4,
        num_layers=num_layers, pos_conv_groups=8,
    )  # fmt: skip


def small_presets(presets: Mapping[str, Architecture]) -> dict[str, Any]:
    """Each size class made small, once where several share their numbers."""
    distinct = {config: name for name, config in reversed(presets.items())}
    return {name: shrink(config) for config, name in distinct.items()}


def hf_config_values(config: Architecture) -> dict[str, Any]:
    """The arguments that all wav2vec 2.0-like `transformers` configs share. Eager attention: plain and independent."""
    channels, kernels, strides = zip(*config.conv_layers, strict=True)
    return {
        "conv_dim": list(channels), "conv_kernel": list(kernels), "conv_stride": list(strides),
        "conv_bias": config.conv_bias, "feat_extract_norm": config.conv_norm,
        "do_stable_layer_norm": config.norm_first, "hidden_size": config.dim, "intermediate_size": config.ffn_dim,
        "num_hidden_layers": config.num_layers, "num_attention_heads": config.num_heads,
        "num_conv_pos_embeddings": config.pos_conv_kernel, "num_conv_pos_embedding_groups": config.pos_conv_groups,
        "layer_norm_eps": config.layer_norm_eps, "attn_implementation": "eager", "apply_spec_augment": False,
    }  # fmt: skip


def hf_names(config: Architecture, *, conv_norm: str = "layer_norm") -> dict[str, str]:
    """Our tensor names to the attribute paths of Wav2Vec2Model and its kin."""
    names = {}
    for i in range(len(config.conv_layers)):
        names |= _tensors(f"conv.layers.{i}.conv", f"feature_extractor.conv_layers.{i}.conv", bias=config.conv_bias)
        if config.conv_norm == "layer" or i == 0:
            names |= _tensors(f"conv.layers.{i}.norm", f"feature_extractor.conv_layers.{i}.{conv_norm}")
    if config.projection_norm:
        names |= _tensors("projection.norm", "feature_projection.layer_norm")
    names |= _tensors("projection.linear", "feature_projection.projection")
    names |= _tensors("transformer.norm", "encoder.layer_norm")
    if config.pos_conv_depth == 1:
        names |= _tensors("pos_conv.conv", "encoder.pos_conv_embed.conv")
    for i in range(config.pos_conv_depth if config.pos_conv_depth > 1 else 0):
        names |= _tensors(f"pos_conv.layers.{i}.conv", f"encoder.pos_conv_embed.layers.{i}.conv")
    if config.pos_conv_norm == "batch":
        names |= _tensors("pos_conv.norm", "encoder.pos_conv_embed.batch_norm")
        for buffer in ("running_mean", "running_var", "num_batches_tracked"):
            names[f"pos_conv.norm.{buffer}"] = f"encoder.pos_conv_embed.batch_norm.{buffer}"
    for i in range(config.num_layers):
        ours, theirs = f"transformer.layers.{i}", f"encoder.layers.{i}"
        for mine, other in [("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")]:
            names |= _tensors(f"{ours}.attention.{mine}", f"{theirs}.attention.{other}")
        names |= _tensors(f"{ours}.attention_norm", f"{theirs}.layer_norm")
        names |= _tensors(f"{ours}.ffn.up", f"{theirs}.feed_forward.intermediate_dense")
        names |= _tensors(f"{ours}.ffn.down", f"{theirs}.feed_forward.output_dense")
        names |= _tensors(f"{ours}.ffn_norm", f"{theirs}.final_layer_norm")
    return names


def hf_pair(
    model: nn.Module, oracle: nn.Module, *, dtype: torch.dtype, more_names: Mapping[str, str] = MappingProxyType({})
) -> Pair:
    """Both models with the same random weights, in eval mode and `dtype`; `more_names` go beyond `hf_names`."""
    oracle = oracle.to(dtype).eval()
    randomize(oracle)
    model = model.to(dtype).eval()
    config = model.config
    names = hf_names(config) | more_names
    fill_from_oracle(model, oracle, names)

    def run(wav: Tensor, lengths: Tensor | None) -> Outputs:
        mask = None if lengths is None else (torch.arange(wav.shape[1]) < lengths.unsqueeze(1)).long()
        result = oracle(wav, attention_mask=mask, output_hidden_states=True)
        states = list(result.hidden_states)
        return [*(states[:-1] if config.norm_first else states), result.last_hidden_state]

    one_conv = config.pos_conv_depth == 1 and config.pos_conv_norm == "weight"
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    return Pair(model, oracle, run, names, config.conv_norm == "layer" and one_conv, tolerance)


def _tensors(ours: str, theirs: str, *, bias: bool = True) -> dict[str, str]:
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in (("weight", "bias") if bias else ("weight",))}
