"""fairseq checkpoints (`.pt`) of wav2vec 2.0, HuBERT, data2vec, WavLM, SEW, UniSpeech-SAT; fairseq is not needed.
Those of the first wav2vec and vq-wav2vec: `fairseq_wav2vec`.

Read are pre-trained models and fine-tuned ones (the encoder inside; the head is left out and reported), settings as an
argparse `Namespace` (`args`, before 2021), as omegaconf objects or as plain dicts (`cfg`), microsoft's flat `cfg`, and
s3prl's conversions (`task_cfg`, `model_cfg`, `model_weight`).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from speechssl.convert import fairseq_wav2vec, files, keys, tables, weights
from speechssl.convert.conv_layers import parse_conv_layers
from speechssl.convert.normalization import Normalization
from speechssl.convert.settings import plain
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError

EPS = 1e-5  # torch's layer_norm over the whole waveform
_ENCODER_PREFIXES = ("w2v_encoder.w2v_model.", "encoder.w2v_model.", "encoder.w2v_encoder.w2v_model.", "w2v_model.")
_HEAD = ("w2v_encoder.proj.weight", "w2v_encoder.proj.bias")  # of CTC


def is_tree(tree: Mapping[Any, Any]) -> bool:
    """Whether an unpickled file is a fairseq or s3prl checkpoint."""
    return is_s3prl(tree) or ("model" in tree and ("cfg" in tree or "args" in tree))


def is_s3prl(tree: Mapping[Any, Any]) -> bool:
    """Whether it is s3prl's conversion of one."""
    return {"task_cfg", "model_cfg", "model_weight"} <= set(tree)


def load(tree: Mapping[Any, Any], *, where: str, normalization: Normalization, name: str) -> weights.Loaded:
    """The encoder in an unpickled fairseq or s3prl checkpoint. Raises CheckpointError."""
    source = "s3prl" if is_s3prl(tree) else "fairseq"
    state = tree["model_weight"] if source == "s3prl" else tree["model"]
    tensors, dropped = _encoder_tensors(state, where)
    settings = settings_of(tree, where)
    decided = normalization.decide(_normalize(settings), where)
    if fairseq_wav2vec.is_state(tensors):
        return fairseq_wav2vec.load(tensors, settings["model"], dropped, where=where, normalization=decided, name=name)
    model = _pretraining_model(settings, where)
    family = _family(tensors, dropped, model)
    values = to_our_config(family, model, tensors, where=where)
    tensors = weights.fold_weight_norm(tensors, where=where)
    table = tables.fairseq(family, batch_norm=values["pos_conv_norm"] == "batch", stacked=values["pos_conv_depth"] > 1)
    mapped = table.to_ours(tensors, where=where)
    encoder = weights.build_encoder(family, values, mapped.tensors, where=where)
    card = weights.make_card(family, encoder, normalize=decided.value, eps=EPS, name=name, source=source)
    left = (*mapped.dropped, *dropped)
    outside = {key: state[key] for key in _HEAD if isinstance(state.get(key), Tensor)}
    codebook = weights.codebook_tensors(tensors)
    return weights.Loaded(Pretrained(encoder, card), source, left, decided.notes, codebook, outside)


def _encoder_tensors(state: object, where: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The encoder's tensors without prefix, and the keys of heads and of the teacher's running average."""
    if not isinstance(state, dict):
        raise CheckpointError(f"{where}: the model is a {type(state).__name__}, not a state dict")
    averages = tuple(str(key) for key, value in state.items() if str(key).endswith("_ema") and isinstance(value, dict))
    tensors = files.as_tensors({k: v for k, v in state.items() if k not in averages}, where=where)
    tensors, outside = keys.strip_prefix(tensors, _ENCODER_PREFIXES)
    return tensors, (*outside, *averages)


def settings_of(tree: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Everything said about task and model, as `{"task": {...}, "model": {...}}`."""
    if is_s3prl(tree):
        return {"task": _table(plain(tree["task_cfg"])), "model": _table(plain(tree["model_cfg"]))}
    cfg = _table(plain(tree.get("cfg")))
    if "model" in cfg:
        return {"task": _table(cfg.get("task")), "model": _table(cfg["model"])}
    flat = cfg or _table(plain(tree.get("args")))  # microsoft's cfg, argparse's Namespace: one namespace for all
    if not flat:
        raise CheckpointError(f"{where}: neither cfg nor args says how the model was built")
    return {"task": flat, "model": flat}


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _normalize(settings: Mapping[str, Any]) -> bool | None:
    """`normalize` of the task, of a fine-tuned model, or of the pre-training it started from."""
    inner = _table(settings["model"].get("w2v_args"))
    for place in (settings["task"], settings["model"], _table(inner.get("task")), inner):
        if isinstance(place.get("normalize"), bool):
            return place["normalize"]
    return None


def _pretraining_model(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings of the encoder: of the model itself, or of the one it was fine-tuned from."""
    model = settings["model"]
    inner = _table(model.get("w2v_args"))
    inner = _table(inner.get("model")) or inner
    if "encoder_layers" in inner:
        return inner
    if "encoder_layers" not in model:
        raise CheckpointError(
            f"{where}: fine-tuned, but the settings of the pre-trained model (w2v_args) are not in it"
        )
    return model


def _family(tensors: Mapping[str, Tensor], outside: tuple[str, ...], model: Mapping[str, Any]) -> str:
    """By tensors that only one family has; by name for HuBERT, which has wav2vec 2.0's."""
    names = set(tensors)
    if any(name.endswith(".self_attn.grep_a") for name in names):
        return "wavlm"
    if any(name.startswith("encoder.encoder.layer.") for name in names):
        return "sew_d"
    if any(name.startswith("encoder.upsample.") for name in names):
        return "sew"
    stated = f"{model.get('_name', '')} {model.get('arch', '')}"
    if any(name.startswith("encoder.pos_conv.1.0.") for name in names) or "data2vec" in stated:
        return "data2vec_audio"
    if any(name.startswith(("spk_proj.", "speaker_proj.", "layer_norm_for_extract.")) for name in names):
        return "unispeech_sat"
    if "hubert" in stated or "label_embs_concat" in names or "untie_final_proj" in model:
        return "hubert"
    return "wav2vec2"


def to_our_config(
    family: str, model: Mapping[str, Any], tensors: Mapping[str, Tensor], *, where: str
) -> dict[str, Any]:
    """Plain Config values from fairseq's model settings; what the tensors themselves show is taken from them."""

    def need(key: str, kind: type = int) -> Any:
        value = model.get(key)
        if type(value) is not kind:
            raise CheckpointError(f"{where}: {key} is missing from the settings or no {kind.__name__}: {value!r}")
        return value

    if model.get("activation_fn", "gelu") != "gelu" or model.get("layer_type", "transformer") not in ("transformer", 0):
        stated = f"activation_fn={model.get('activation_fn')!r}, layer_type={model.get('layer_type')!r}"
        raise CheckpointError(f"{where}: {stated}: only transformers with gelu are supported")
    mode = model.get("extractor_mode", "default")
    if mode not in ("default", "layer_norm"):
        raise CheckpointError(f"{where}: extractor_mode={mode!r} is not supported")
    conv_layers = parse_conv_layers(model.get("conv_feature_layers"), where=where)
    dim, depth, kernel = need("encoder_embed_dim"), model.get("pos_conv_depth", 1), model.get("conv_pos", 128)
    if type(depth) is not int or type(kernel) is not int or depth < 1:
        raise CheckpointError(f"{where}: conv_pos={kernel!r}, pos_conv_depth={depth!r}")
    values = {
        "conv_layers": conv_layers,
        "conv_bias": model.get("conv_bias", False),
        "conv_norm": "layer" if mode == "layer_norm" else "group",
        "projection": "post_extract_proj.weight" in tensors or conv_layers[-1][0] != dim,
        "dim": dim,
        "ffn_dim": need("encoder_ffn_embed_dim"),
        "num_layers": need("encoder_layers"),
        "num_heads": need("encoder_attention_heads"),
        "norm_first": need("layer_norm_first", bool),
        "pos_conv_kernel": kernel if depth == 1 else max(3, kernel // depth),
        "pos_conv_groups": model.get("conv_pos_groups", 16),
        "pos_conv_depth": depth,
        "pos_conv_norm": "batch" if "encoder.pos_conv.0.running_mean" in tensors else "weight",
    }
    if family == "wavlm":
        values |= {"num_buckets": need("num_buckets"), "max_distance": need("max_distance")}
        if model.get("expand_attention_head_size", -1) > 0 or model.get("gru_rel_pos") is False:
            raise CheckpointError(f"{where}: WavLM without its gate or with expanded heads is not supported")
    if family in ("sew", "sew_d"):
        values["squeeze"] = need("squeeze_factor")
    if family == "sew_d":
        kinds = str(model.get("pos_att_type", "p2c|c2p")).split("|")
        if not need("relative_attention", bool) or not set(kinds) <= {"p2c", "c2p"}:
            raise CheckpointError(f"{where}: relative_attention or pos_att_type={kinds} is not supported")
        values |= {
            "num_buckets": max(0, need("position_buckets")),
            "max_distance": need("max_position_embeddings"),
            "share_keys": need("share_att_key", bool),
            "content_to_position": "c2p" in kinds,
            "position_to_content": "p2c" in kinds,
            "relative_norm": "layer_norm" in str(model.get("norm_rel_ebd", "none")),
        }
    return values
