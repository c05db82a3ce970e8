"""Hugging Face transformers folders: `config.json`, weights, `preprocessor_config.json`, both directions of the config.

Models with a head are read too; the head is left out and reported. Sizes must be in the file, never a default:
only options that came later than the first release of a model type have one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechssl.convert import files, keys, tables, weights
from speechssl.convert.normalization import Normalization
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError

FAMILIES = {  # model_type -> family
    "wav2vec2": "wav2vec2",
    "hubert": "hubert",
    "wavlm": "wavlm",
    "data2vec-audio": "data2vec_audio",
    "sew": "sew",
    "sew-d": "sew_d",
    "unispeech": "wav2vec2",  # the same encoder, pre-trained with labels
    "unispeech-sat": "unispeech_sat",
}
_GELU = ("gelu", "gelu_python")  # two computations of the same function
_ADAPTERS = ".adapter_layer."  # MMS's, behind each block
EPS = 1e-7  # Wav2Vec2FeatureExtractor adds this to the variance


def is_folder(folder: Path) -> bool:
    """Whether `folder` looks like a transformers model of one of our families."""
    try:
        return files.read_json(folder / "config.json").get("model_type") in list(FAMILIES)
    except CheckpointError:
        return False


def load(folder: Path, *, normalization: Normalization, name: str = "") -> weights.Loaded:
    """Read a folder. Raises CheckpointError."""
    raw = files.read_json(folder / "config.json")
    family, values = to_our_config(raw, where=str(folder / "config.json"))
    stated = _do_normalize(folder)
    decided = normalization.decide(
        stated, "preprocessor_config.json", reliable=False, conv_norm=str(values["conv_norm"])
    )
    tensors = weights.fold_weight_norm(files.read_folder(folder), where=str(folder))
    adapted = raw.get("adapter_attn_dim") is not None
    adapters = tuple(key for key in tensors if adapted and _ADAPTERS in key)
    outside = {key: tensor for key, tensor in tensors.items() if key.startswith("lm_head.") or key in adapters}
    tensors = {key: tensor for key, tensor in tensors.items() if key not in adapters}
    inside, head = keys.strip_prefix(tensors, [f"{str(raw['model_type']).replace('-', '_')}."])
    mapped = tables.huggingface(family).to_ours(inside, where=str(folder))
    model = weights.build_encoder(family, values, mapped.tensors, where=str(folder))
    card = weights.make_card(
        family, model, normalize=decided.value, eps=EPS, name=name or folder.name, source="huggingface"
    )
    notes = decided.notes
    if raw.get("add_adapter"):
        notes += ("the adapter behind the last block is not part of the encoder: layers end with the last block",)
    if adapters:
        notes += ("adapters of a language in the blocks are a recogniser's, not the encoder's: they are left out",)
    left = (*mapped.dropped, *head, *adapters)
    codebook = weights.codebook_tensors(tensors)
    return weights.Loaded(Pretrained(model, card), "huggingface", left, notes, codebook, outside)


def _do_normalize(folder: Path) -> bool | None:
    if not (folder / "preprocessor_config.json").is_file():
        return None
    raw = files.read_json(folder / "preprocessor_config.json")
    rate = raw.get("sampling_rate", 16000)
    if rate != 16000:
        raise CheckpointError(f"{folder / 'preprocessor_config.json'}: sampling_rate {rate}, these encoders take 16000")
    value = raw.get("do_normalize", True)  # the class's own default
    if not isinstance(value, bool):
        raise CheckpointError(f"{folder / 'preprocessor_config.json'}: do_normalize is {value!r}")
    return value


def to_our_config(raw: Mapping[str, Any], *, where: str) -> tuple[str, dict[str, Any]]:
    """Family and plain Config values from the contents of a `config.json`."""
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise CheckpointError(f"{where}: model_type {model_type!r} is not one of {known}")
    family = FAMILIES[model_type]
    for key in ("hidden_act", "feat_extract_activation"):
        if raw.get(key, "gelu") not in _GELU:
            raise CheckpointError(f"{where}: {key}={raw[key]!r} is not supported, only gelu")

    def need(key: str, kind: type = int) -> Any:
        value = raw.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CheckpointError(f"{where}: {key} is missing or not {kind.__name__}: {value!r}")
        return value

    conv = [need(key, list) for key in ("conv_dim", "conv_kernel", "conv_stride")]
    if len({len(part) for part in conv}) != 1 or not all(type(v) is int for part in conv for v in part):
        raise CheckpointError(f"{where}: conv_dim, conv_kernel and conv_stride are not integer lists of one length")
    values: dict[str, Any] = {
        "conv_layers": [list(layer) for layer in zip(*conv, strict=True)],
        "conv_bias": raw.get("conv_bias", False),
        "conv_norm": "layer" if family == "data2vec_audio" else raw.get("feat_extract_norm", "group"),
        "dim": need("hidden_size"),
        "ffn_dim": need("intermediate_size"),
        "num_layers": need("num_hidden_layers"),
        "num_heads": need("num_attention_heads"),
        "pos_conv_groups": need("num_conv_pos_embedding_groups"),
        "layer_norm_eps": raw.get("layer_norm_eps", 1e-7 if family == "sew_d" else 1e-5),
    }
    if family == "data2vec_audio":
        values |= {"pos_conv_kernel": need("conv_pos_kernel_size"), "pos_conv_depth": need("num_conv_pos_embeddings")}
    else:
        values["pos_conv_kernel"] = need("num_conv_pos_embeddings")
    if family not in ("data2vec_audio", "sew", "sew_d"):
        values["norm_first"] = raw.get("do_stable_layer_norm", False)
    if family == "hubert":
        values["pos_conv_norm"] = "batch" if raw.get("conv_pos_batch_norm", False) else "weight"
        values["projection_norm"] = raw.get("feat_proj_layer_norm", True)
    if family == "wavlm":
        values |= {"num_buckets": need("num_buckets"), "max_distance": need("max_bucket_distance")}
    if family in ("sew", "sew_d"):
        values["squeeze"] = need("squeeze_factor")
        values["projection"] = conv[0][-1] != values["dim"]
    if family == "sew_d":
        values |= _deberta(raw, where)
    return family, values


def _deberta(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not raw.get("relative_attention", True) or raw.get("conv_kernel_size", 0):
        raise CheckpointError(
            f"{where}: SEW-D without relative attention, or with a convolution in it, is not supported"
        )
    kinds, norm = raw.get("pos_att_type", ["p2c", "c2p"]), raw.get("norm_rel_ebd", "layer_norm")
    if (
        not isinstance(kinds, list | tuple)
        or any(kind not in ("p2c", "c2p") for kind in kinds)
        or norm not in ("layer_norm", "none")
    ):
        raise CheckpointError(f"{where}: pos_att_type={kinds!r} or norm_rel_ebd={norm!r} is not supported")
    buckets = raw.get("position_buckets")
    if not isinstance(buckets, int) or raw.get("max_relative_positions", -1) > 0:
        raise CheckpointError(f"{where}: position_buckets={buckets!r}, or max_relative_positions is set")
    return {
        "projection_norm_eps": raw.get("feature_layer_norm_eps", 1e-5),
        "num_buckets": max(0, buckets),
        "max_distance": raw.get("max_position_embeddings"),
        "share_keys": raw.get("share_att_key", True),
        "content_to_position": "c2p" in kinds,
        "position_to_content": "p2c" in kinds,
        "relative_norm": norm == "layer_norm",
    }
