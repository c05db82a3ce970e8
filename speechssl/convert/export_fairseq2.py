"""Write an encoder as a fairseq2 `wav2vec2` model, where it has that architecture: `model.safetensors`, an asset card.

fairseq2 stores the encoder together with what pre-training adds (masker, quantizer, projections). An encoder has none
of that; zeros are written in its place, so that fairseq2 loads the checkpoint strictly. Features are the model's;
training on from it with the contrastive loss needs those parts initialised first.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl import config
from speechssl.convert import tables, weights
from speechssl.encoders.pretrained import Pretrained, write_tensors
from speechssl.errors import CheckpointError

_FAMILIES = {"wav2vec2", "hubert", "data2vec_audio", "unispeech_sat"}  # all have wav2vec 2.0's encoder
_POSITION = "encoder_frontend.pos_encoder.conv"
_CODEBOOKS, _ENTRIES, _QUANTIZED, _FINAL = 2, 320, 256, 256  # fairseq2's defaults


def write(
    folder: Path, pretrained: Pretrained, *, name: str = "speechssl_export", place: Path | None = None
) -> tuple[str, ...]:
    """Write the folder; returns notes for the user. `place` is where it will stand, if elsewhere.

    Raises CheckpointError where fairseq2 has no such architecture.
    """
    family, ours = pretrained.card.family, config.to_dict(pretrained.encoder.config)
    _check_expressible(family, ours)
    table = tables.fairseq2(conv_norm=ours["conv_norm"], norm_first=ours["norm_first"])
    named = table.to_theirs(pretrained.encoder.state_dict(), where="fairseq2 wav2vec2")
    if ours["pos_conv_depth"] == 1:
        length, direction = weights.unfold_weight_norm(named.pop(f"{_POSITION}.weight"))
        named |= {f"{_POSITION}.weight_g": length, f"{_POSITION}.weight_v": direction}
    named |= _training_parts(ours)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "model.safetensors", named, format="pt")
    card = _card(name, place or folder, pretrained, ours)
    # A JSON object is a YAML document.
    (folder / "card.yaml").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return ("masker, quantizer and projections of fairseq2's wav2vec2 are zeros: they are no part of an encoder",)


def _check_expressible(family: str, ours: dict[str, Any]) -> None:
    if family not in _FAMILIES:
        raise CheckpointError(f"fairseq2 has no architecture for {family} (it has {', '.join(sorted(_FAMILIES))})")
    wanted = {"pos_conv_norm": "weight", "projection_norm": True, "layer_norm_eps": 1e-5, "sample_rate": 16000,
              "projection": ours["conv_layers"][-1][0] != ours["dim"]}  # fmt: skip
    for key, value in wanted.items():
        if ours[key] != value:
            raise CheckpointError(f"fairseq2's wav2vec2 cannot express {key}={ours[key]!r}")


def _training_parts(ours: dict[str, Any]) -> dict[str, Tensor]:
    features, entries = ours["conv_layers"][-1][0], _CODEBOOKS * _ENTRIES
    shapes = {
        "masker.temporal_mask_embed": (ours["dim"],),
        "quantizer.entries": (1, entries, _QUANTIZED // _CODEBOOKS),
        "quantizer.num_updates": (),
        "quantizer.entry_proj.weight": (entries, features),
        "quantizer.entry_proj.bias": (entries,),
        "final_proj.weight": (_FINAL, ours["dim"]),
        "final_proj.bias": (_FINAL,),
        "final_target_proj.weight": (_FINAL, _QUANTIZED),
        "final_target_proj.bias": (_FINAL,),
    }
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


def _card(name: str, folder: Path, pretrained: Pretrained, ours: dict[str, Any]) -> dict[str, Any]:
    encoder = {
        "model_dim": ours["dim"],
        "feature_dim": ours["conv_layers"][-1][0],
        "layer_norm_features": not ours["norm_first"],
        "feature_extractor_layer_descs": [list(layer) for layer in ours["conv_layers"]],
        "feature_extractor_bias": ours["conv_bias"],
        "feature_extractor_layer_norm_convs": ours["conv_norm"] == "layer",
        "pos_encoder_depth": ours["pos_conv_depth"],
        "pos_conv_kernel_size": ours["pos_conv_kernel"] * ours["pos_conv_depth"],
        "num_pos_conv_groups": ours["pos_conv_groups"],
        "num_encoder_layers": ours["num_layers"],
        "num_encoder_attn_heads": ours["num_heads"],
        "ffn_inner_dim": ours["ffn_dim"],
        "norm_order": "PRE" if ours["norm_first"] else "POST",
    }
    return {
        "name": name,
        "model_family": "wav2vec2",
        "model_arch": "base",
        "model_config": {"encoder_config": encoder, "final_dim": _FINAL, "quantized_dim": _QUANTIZED},
        "checkpoint": (folder / "model.safetensors").resolve().as_uri(),
        "normalize_audio": pretrained.card.normalize,  # ours: fairseq2 leaves this to the data's configuration
        "speechssl_family": pretrained.card.family,
    }
