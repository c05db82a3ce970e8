"""Write an encoder as a Hugging Face transformers folder: `config.json`, `preprocessor_config.json`, safetensors.

`transformers` loads it without a missing or unexpected tensor. Masking is off in the config, since the mask vector is
no part of an encoder; fine-tuning code that turns it on gets a fresh one.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl import config
from speechssl.convert import huggingface, tables, weights
from speechssl.encoders.pretrained import Pretrained, write_tensors
from speechssl.errors import CheckpointError

_CLASSES = {
    "wav2vec2": ("wav2vec2", "Wav2Vec2Model"),
    "hubert": ("hubert", "HubertModel"),
    "wavlm": ("wavlm", "WavLMModel"),
    "data2vec_audio": ("data2vec-audio", "Data2VecAudioModel"),
    "sew": ("sew", "SEWModel"),
    "sew_d": ("sew-d", "SEWDModel"),
    "unispeech_sat": ("unispeech-sat", "UniSpeechSatModel"),
}
_POSITION = "encoder.pos_conv_embed.conv"


def write(folder: Path, pretrained: Pretrained) -> tuple[str, ...]:
    """Write the folder; returns notes for the user. Raises CheckpointError where the format cannot hold the model."""
    family, ours = pretrained.card.family, config.to_dict(pretrained.encoder.config)
    if family not in _CLASSES:
        raise CheckpointError(f"Hugging Face has no model for {family} (it has {', '.join(_CLASSES)})")
    theirs = to_their_config(family, ours)
    identity = _check_expressible(family, ours, theirs)
    tensors = dict(pretrained.encoder.state_dict())
    notes = []
    if identity:
        tensors |= {
            "projection.linear.weight": torch.eye(ours["dim"]),
            "projection.linear.bias": torch.zeros(ours["dim"]),
        }
        notes.append("this model has no projection, Hugging Face's always has one: an identity was written")
    if pretrained.card.normalize and pretrained.card.normalize_eps != huggingface.EPS:
        notes.append(f"Hugging Face adds {huggingface.EPS} to the variance, this model {pretrained.card.normalize_eps}")
    named = tables.huggingface(family).to_theirs(tensors, where=f"Hugging Face {family}")
    if family == "unispeech_sat":  # this class has a mask vector even where masking is off
        named["masked_spec_embed"] = torch.zeros(ours["dim"])
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", _weight_normed(named, ours), format="pt")
    _write_json(folder / "config.json", theirs)
    _write_json(folder / "preprocessor_config.json", _preprocessor(pretrained.card.normalize, ours))
    return tuple(notes)


def to_their_config(family: str, ours: dict[str, Any]) -> dict[str, Any]:
    """The contents of `config.json` for our Config values."""
    dims, kernels, strides = zip(*ours["conv_layers"], strict=True)
    model_type, class_name = _CLASSES[family]
    theirs: dict[str, Any] = {
        "model_type": model_type,
        "architectures": [class_name],
        "torch_dtype": "float32",
        "hidden_size": ours["dim"],
        "intermediate_size": ours["ffn_dim"],
        "num_hidden_layers": ours["num_layers"],
        "num_attention_heads": ours["num_heads"],
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "layer_norm_eps": ours["layer_norm_eps"],
        "num_feat_extract_layers": len(dims),
        "conv_dim": list(dims),
        "conv_kernel": list(kernels),
        "conv_stride": list(strides),
        "conv_bias": ours["conv_bias"],
        "feat_extract_norm": ours["conv_norm"],
        "num_conv_pos_embedding_groups": ours["pos_conv_groups"],
        "apply_spec_augment": False,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
    }
    if family == "data2vec_audio":
        del theirs["feat_extract_norm"]
        theirs |= {"conv_pos_kernel_size": ours["pos_conv_kernel"], "num_conv_pos_embeddings": ours["pos_conv_depth"]}
    else:
        theirs["num_conv_pos_embeddings"] = ours["pos_conv_kernel"]
    if family not in ("data2vec_audio", "sew", "sew_d"):
        theirs["do_stable_layer_norm"] = ours["norm_first"]
    if family == "hubert":
        theirs["conv_pos_batch_norm"] = ours["pos_conv_norm"] == "batch"
        theirs["feat_proj_layer_norm"] = ours["projection_norm"]
    if family == "wavlm":
        theirs |= {"num_buckets": ours["num_buckets"], "max_bucket_distance": ours["max_distance"]}
    if family in ("sew", "sew_d"):
        theirs["squeeze_factor"] = ours["squeeze"]
    if family == "sew_d":
        theirs |= _deberta(ours)
    return theirs


def _deberta(ours: dict[str, Any]) -> dict[str, Any]:
    kinds = {"p2c": ours["position_to_content"], "c2p": ours["content_to_position"]}
    return {
        "feature_layer_norm_eps": ours["projection_norm_eps"],
        "position_buckets": ours["num_buckets"] or -1,
        "max_position_embeddings": ours["max_distance"],
        "share_att_key": ours["share_keys"],
        "relative_attention": True,
        "pos_att_type": [kind for kind, there in kinds.items() if there],
        "norm_rel_ebd": "layer_norm" if ours["relative_norm"] else "none",
    }


def _check_expressible(family: str, ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Read our own config back; True where only the missing projection differs, which an identity stands for."""
    _, values = huggingface.to_our_config(theirs, where=f"Hugging Face {family}")
    back = weights.resolve(family, values)
    lost = sorted(key for key in ours if back[key] != ours[key])
    identity = lost == ["projection"] and not ours["projection"] and family not in ("sew", "sew_d")
    if lost and not identity:
        raise CheckpointError(f"Hugging Face's {family} cannot express {lost[0]}={ours[lost[0]]!r}")
    return identity


def _weight_normed(named: dict[str, Tensor], ours: dict[str, Any]) -> dict[str, Tensor]:
    if ours["pos_conv_norm"] == "batch" or ours["pos_conv_depth"] > 1:
        return named
    length, direction = weights.unfold_weight_norm(named.pop(f"{_POSITION}.weight"))
    parts = {"original0": length, "original1": direction}
    return named | {f"{_POSITION}.parametrizations.weight.{name}": tensor for name, tensor in parts.items()}


def _preprocessor(normalize: bool, ours: dict[str, Any]) -> dict[str, Any]:
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": normalize,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": ours["conv_norm"] == "layer",
        "sampling_rate": ours["sample_rate"],
    }


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
