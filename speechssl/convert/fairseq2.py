"""fairseq2 checkpoints of its `wav2vec2` and `wav2vec2_asr` families; fairseq2 is not needed.

Read are a weights file (`.pt`, `.safetensors`), a folder with one and an asset card (`*.yaml`), and the folders that
its trainer writes (`model.yaml` above `step_N/model/pp_00/tp_00/sdp_00.pt`; the newest step). The card, where there is
one, says heads and strides; other sizes come from the shapes. Cards do not say how waveforms were normalised.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechssl.convert import files, inferred, pickle_reader, tables, weights
from speechssl.convert.normalization import Normalization
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError

EPS = 1e-5  # torch's layer_norm over the whole waveform
_MARK = "encoder_frontend.feature_extractor.layers.0.conv.weight"
_FAMILIES = ("wav2vec2", "wav2vec2_asr")
_HEADS_OF_ARCH = {"base": 12, "large": 16, "large_lv60k": 16}
_SIZES = {"model_dim": "dim", "ffn_inner_dim": "ffn_dim", "num_encoder_layers": "num_layers"}


def is_state_dict(tree: Mapping[Any, Any]) -> bool:
    """Whether a dict is, or wraps as `model`, a state dict with fairseq2's names."""
    inner = tree.get("model")
    return _MARK in tree or (isinstance(inner, dict) and _MARK in inner)


def find_weights(folder: Path) -> Path | None:
    """The weights file that a fairseq2 folder means, or None where it is no such folder."""
    steps = sorted(folder.glob("step_*"), key=lambda step: int(re.sub(r"\D", "", step.name) or -1))
    for root in (folder, folder / "model", *(step / "model" for step in steps[-1:])):
        if shards := sorted(root.glob("pp_*/tp_*/sdp_*.pt")):
            if len(shards) > 1:
                raise CheckpointError(f"{root}: the weights are split over devices; merge them with fairseq2 first")
            return shards[0]
    cards = [path for path in folder.glob("*.yaml") if files.read_yaml(path).get("model_family") in _FAMILIES]
    named = sorted([*folder.glob("*.safetensors"), *folder.glob("*.pt")])
    return named[0] if cards and len(named) == 1 else None


def load(tree: Mapping[Any, Any], path: Path, *, normalization: Normalization) -> weights.Loaded:
    """The encoder of an opened file at `path`. Raises CheckpointError."""
    where = str(path)
    tensors = files.as_tensors(tree if _MARK in tree else tree["model"], where=where)
    card, hints = _card_of(path), inferred.read_hints(path)
    decided = normalization.decide(hints.pop("normalize", card.get("normalize_audio")), where)
    tensors = weights.fold_weight_norm(tensors, where=where)
    layer_norms = any(key.endswith("feature_extractor.layers.0.layer_norm.weight") for key in tensors)
    norm_first = "encoder.layer_norm.weight" in tensors
    table = tables.fairseq2(conv_norm="layer" if layer_norms else "group", norm_first=norm_first)
    mapped = table.to_ours(tensors, where=where)
    family, said = hints.pop("family", card.get("speechssl_family", "wav2vec2")), _said(card, where)
    values = inferred.config_of(mapped.tensors, {"norm_first": norm_first, **said, **hints}, where=where)
    model = weights.build_encoder(family, values, mapped.tensors, where=where)
    name = str(card.get("name", path.name))
    new_card = weights.make_card(family, model, normalize=decided.value, eps=EPS, name=name, source="fairseq2")
    codebook = weights.codebook_tensors(tensors)
    return weights.Loaded(Pretrained(model, new_card), "fairseq2", mapped.dropped, decided.notes, codebook)


def read(path: Path) -> dict[str, Any]:
    """The tree of a weights file, `.safetensors` or pickled."""
    tree = files.read_safetensors(path) if path.suffix == ".safetensors" else pickle_reader.read_pickle_file(path)
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: holds a {type(tree).__name__}, not a state dict")
    return tree


def _said(card: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What the card says that shapes do not show, and the sizes it says, under our names."""
    said: dict[str, Any] = {}
    arch = card.get("model_arch")
    if arch is not None and arch not in list(_HEADS_OF_ARCH):
        raise CheckpointError(f"{where}: its card names architecture {arch!r}; known: {', '.join(_HEADS_OF_ARCH)}")
    if arch:
        said["num_heads"] = _HEADS_OF_ARCH[arch]
    config = card.get("model_config") or card.get("model_config_overrides") or {}
    config = config.get("_set_", config) if isinstance(config, dict) else {}
    encoder = config.get("encoder_config", {}) if isinstance(config, dict) else {}
    encoder = encoder.get("_set_", encoder) if isinstance(encoder, dict) else {}
    if not isinstance(encoder, dict):
        raise CheckpointError(f"{where}: its card's encoder_config is a {type(encoder).__name__}")
    if encoder.get("use_conformer") or encoder.get("use_fbank") or encoder.get("pos_encoder_type", "conv") != "conv":
        raise CheckpointError(f"{where}: conformers, filterbank input and other position encoders are not supported")
    if "num_encoder_attn_heads" in encoder:
        said["num_heads"] = encoder["num_encoder_attn_heads"]
    if "feature_extractor_layer_descs" in encoder:
        said["conv_layers"] = encoder["feature_extractor_layer_descs"]
    return said | {ours: encoder[theirs] for theirs, ours in _SIZES.items() if theirs in encoder}


def _card_of(path: Path) -> dict[str, Any]:
    """The asset card that belongs to a weights file: beside it, or `model.yaml` above a trainer's step."""
    places = [path.with_suffix(".yaml"), path.parent / "model.yaml", *sorted(path.parent.glob("*.yaml"))]
    if (
        path.name.startswith("sdp_") and len(path.parents) > 4
    ):  # model.yaml / step_N / model / pp_00 / tp_00 / sdp_00.pt
        places += [path.parents[4] / "model.yaml"]
    cards = (files.read_yaml(place) for place in places if place.is_file())
    return next((card for card in cards if card.get("model_family") in _FAMILIES), {})
