"""Checkpoints as fairseq would write them, made from `transformers` models by hand-written renaming (fairseq is
archived and cannot be installed here). Names follow fairseq's `wav2vec2.py`, `hubert.py`, `data2vec_audio.py`,
microsoft's `WavLM.py` and ASAPP's `squeeze_wav2vec2*.py`.
"""

import argparse
import contextlib
import enum
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

# (pattern of transformers, name in fairseq); the positional convolution is done below
RENAMES = [
    (r"feature_extractor\.conv_layers\.(\d+)\.conv\.(\w+)", r"feature_extractor.conv_layers.\1.0.\2"),
    (r"feature_projection\.layer_norm\.(\w+)", r"layer_norm.\1"),
    (r"feature_projection\.projection\.(\w+)", r"post_extract_proj.\1"),
    (r"feature_projection\.(weight|bias)", r"post_extract_proj.\1"),
    (r"encoder\.layers\.(\d+)\.attention\.([qkv]|out)_proj\.(\w+)", r"encoder.layers.\1.self_attn.\2_proj.\3"),
    (r"encoder\.layers\.(\d+)\.layer_norm\.(\w+)", r"encoder.layers.\1.self_attn_layer_norm.\2"),
    (r"encoder\.layers\.(\d+)\.feed_forward\.intermediate_dense\.(\w+)", r"encoder.layers.\1.fc1.\2"),
    (r"encoder\.layers\.(\d+)\.feed_forward\.output_dense\.(\w+)", r"encoder.layers.\1.fc2.\2"),
    (r"encoder\.layers\.0\.attention\.rel_attn_embed\.weight",
     r"encoder.layers.0.self_attn.relative_attention_bias.weight"),
    (r"encoder\.layers\.(\d+)\.attention\.gru_rel_pos_linear\.(\w+)", r"encoder.layers.\1.self_attn.grep_linear.\2"),
    (r"encoder\.layers\.(\d+)\.attention\.gru_rel_pos_const", r"encoder.layers.\1.self_attn.grep_a"),
    (r"encoder\.upsample\.projection\.(\w+)", r"encoder.upsample.0.\1"),
    (r"masked_spec_embed", r"mask_emb"),
    (r"encoder\.pos_conv_embed\.layers\.(\d+)\.conv\.(\w+)", r"encoder.pos_conv.\1.0.\2"),
    (r"encoder\.pos_conv_embed\.batch_norm\.(\w+)", r"encoder.pos_conv.0.\1"),
]  # fmt: skip


def state_dict(model: nn.Module) -> dict[str, Tensor]:
    config, renamed = model.config, {}
    layer_norms = getattr(config, "feat_extract_norm", "layer") == "layer"
    batch_norm = getattr(config, "conv_pos_batch_norm", False)
    for key, tensor in model.state_dict().items():
        name = key
        for pattern, new in RENAMES:
            if re.fullmatch(pattern, key):
                name = re.sub(pattern, new, key)
        if match := re.fullmatch(r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.(\w+)", key):
            name = f"feature_extractor.conv_layers.{match[1]}.2.{'1.' if layer_norms else ''}{match[2]}"
        if key.startswith("encoder.pos_conv_embed.conv."):
            last = {"original0": "weight_g", "original1": "weight_v"}.get(key.split(".")[-1], key.split(".")[-1])
            name = f"encoder.pos_conv.{1 if batch_norm else 0}.{last}"
        renamed[name] = tensor.detach().clone()
    return renamed


def settings(model: nn.Module, name: str) -> dict[str, Any]:
    """fairseq's model settings; `conv_feature_layers` as the Python text that fairseq evaluates."""
    config = model.config
    triples = list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True))
    text = " + ".join(f"[({d}, {k}, {s})]" for d, k, s in triples)
    values = {
        "_name": name, "extractor_mode": "default", "encoder_layers": config.num_hidden_layers,
        "encoder_embed_dim": config.hidden_size, "encoder_ffn_embed_dim": config.intermediate_size,
        "encoder_attention_heads": config.num_attention_heads, "activation_fn": "gelu", "layer_norm_first": False,
        "conv_feature_layers": text, "conv_bias": config.conv_bias, "conv_pos": config.num_conv_pos_embeddings,
        "conv_pos_groups": config.num_conv_pos_embedding_groups, "dropout": 0.1, "mask_prob": 0.65,
        "latent_temp": (2, 0.5, 0.999995),
    }  # fmt: skip
    if getattr(config, "feat_extract_norm", "layer") == "layer":
        values["extractor_mode"] = "layer_norm"
    values["layer_norm_first"] = getattr(config, "do_stable_layer_norm", False)
    if name == "data2vec_audio":
        values |= {"pos_conv_depth": config.num_conv_pos_embeddings,
                   "conv_pos": config.num_conv_pos_embeddings * config.conv_pos_kernel_size}  # fmt: skip
    if name == "wavlm":
        values |= {"relative_position_embedding": True, "gru_rel_pos": True, "num_buckets": config.num_buckets,
                   "max_distance": config.max_bucket_distance, "expand_attention_head_size": -1}  # fmt: skip
    if name.startswith("squeeze"):
        values["squeeze_factor"] = config.squeeze_factor
    if name == "squeeze_wav2vec2_deberta":
        values |= {"max_position_embeddings": config.max_position_embeddings, "norm_rel_ebd": "layer_norm",
                   "position_buckets": config.position_buckets, "share_att_key": config.share_att_key,
                   "relative_attention": True, "pos_att_type": "|".join(config.pos_att_type)}  # fmt: skip
    return values


def training_parts(name: str) -> dict[str, Any]:
    """Tensors that fairseq keeps beside the encoder."""
    ones = torch.ones(2, 2)
    if name == "hubert":
        return {"label_embs_concat": ones, "final_proj.weight": ones, "final_proj.bias": ones[0]}
    if name == "data2vec_audio":
        return {"final_proj.weight": ones, "_ema": {"layers.0.fc1.weight": ones, "num_updates": torch.tensor(5)}}
    if name == "wavlm":
        return {}
    return {"quantizer.vars": ones, "quantizer.weight_proj.weight": ones, "project_q.weight": ones,
            "final_proj.weight": ones}  # fmt: skip


def namespace(values: dict[str, Any], **more: Any) -> argparse.Namespace:
    return argparse.Namespace(**{k: v for k, v in values.items() if k != "_name"}, arch=values["_name"], **more)


@contextlib.contextmanager
def fake_omegaconf() -> Iterator[Any]:
    """A function that wraps plain values in classes that pickle under omegaconf's names, parent links and all."""
    modules = {}

    def make(module: str, name: str, bases: tuple[type, ...] = (), **namespace: Any) -> Any:
        modules.setdefault(module, types.ModuleType(module))
        cls = type(name, bases, namespace | {"__module__": module, "__qualname__": name})
        setattr(modules[module], name, cls)
        return cls

    dict_class, list_class = make("omegaconf.dictconfig", "DictConfig"), make("omegaconf.listconfig", "ListConfig")
    leaf_class, meta_class = make("omegaconf.nodes", "AnyNode"), make("omegaconf.base", "ContainerMetadata")
    modules.setdefault("fairseq.dataclass.constants", types.ModuleType("fairseq.dataclass.constants"))
    choice = enum.Enum(
        "Choice", {"default": "default", "layer_norm": "layer_norm"}, module="fairseq.dataclass.constants"
    )
    modules["fairseq.dataclass.constants"].Choice = choice  # type: ignore[attr-defined]

    def wrap(value: Any, parent: Any = None, key: str = "") -> Any:
        if isinstance(value, dict):
            node = dict_class()
            content: Any = {k: wrap(v, node, k) for k, v in value.items()}
        elif isinstance(value, list | tuple):
            node = list_class()
            content = [wrap(v, node, str(i)) for i, v in enumerate(value)]
        else:
            node = leaf_class()
            node.__dict__ |= {"_parent": parent, "_val": choice(value) if key == "extractor_mode" else value}
            return node
        node.__dict__ |= {"_parent": parent, "_metadata": meta_class(), "_content": content, "_flags_cache": None}
        return node

    previous = {name: sys.modules.get(name) for name in (*modules, "omegaconf", "fairseq", "fairseq.dataclass")}
    sys.modules.update({name: modules.get(name) or types.ModuleType(name) for name in previous})
    try:
        yield wrap
    finally:
        for name, module in previous.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
