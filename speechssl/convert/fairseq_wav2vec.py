"""fairseq's first wav2vec (arXiv:1904.05862) and vq-wav2vec (arXiv:1910.05453): `Wav2VecModel` checkpoints.

Names as in fairseq/models/wav2vec/wav2vec.py and modules/{gumbel,kmeans}_vector_quantizer.py: convolution, dropout and
norm are numbers 0, 1, 2 of a block of the front end and 1, 2, 3, behind the padding, of the aggregator's. A Gumbel
quantizer keeps its entries as [1, G V, D], an online k-means one as [V, G, D]; G is 1 where groups share them.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from speechssl.convert import weights
from speechssl.convert.conv_layers import parse_conv_layers
from speechssl.convert.keys import Table
from speechssl.convert.normalization import Decision
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError

EPS = 1e-5
_TABLE = Table(
    (
        ("feature_extractor.conv_layers.{i}.0.{p}", "conv.layers.{i}.conv.{p}"),
        ("feature_extractor.conv_layers.{i}.2.{p}", "conv.layers.{i}.norm.{p}"),
        ("feature_aggregator.conv_layers.{i}.1.{p}", "context_network.convs.{i}.{p}"),
        ("feature_aggregator.conv_layers.{i}.3.{p}", "context_network.norms.{i}.{p}"),
        ("vector_quantizer.weight_proj.{i}.0.{p}", "quantizer.hidden.{i}.0.{p}"),
        ("vector_quantizer.logits.{p}", "quantizer.logits.{p}"),  # see `_quantizer`
        ("vector_quantizer.codebook", "quantizer.codebook"),
        ("vector_quantizer.projection.0.{p}", "project.{p}"),
        ("vector_quantizer.projection.1.{p}", "project_norm.{p}"),
    ),
    drop=("wav2vec_predictions.*", "project_features.*"),
)
_ONLY = {"aggregator": "cnn", "activation": "relu", "skip_connections_feat": False, "non_affine_group_norm": False}


def is_state(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a `Wav2VecModel`: wav2vec 2.0 has no aggregator."""
    return "feature_aggregator.conv_layers.0.1.weight" in tensors


def load(
    tensors: Mapping[str, Tensor], model: Mapping[str, Any], dropped: tuple[str, ...], *, where: str,
    normalization: Decision, name: str,
) -> weights.Loaded:  # fmt: skip
    """The encoder. model: its settings. Raises CheckpointError."""
    values = _config(tensors, model, where=where)
    normalize, notes = normalization.value, normalization.notes
    family = "vq_wav2vec" if "quantizer" in values else "wav2vec"
    mapped = _TABLE.to_ours(_quantizer(tensors, values, where=where), where=where)
    encoder = weights.build_encoder(family, values, mapped.tensors, where=where)
    card = weights.make_card(family, encoder, normalize=normalize, eps=EPS, name=name, source="fairseq")
    return weights.Loaded(Pretrained(encoder, card), "fairseq", (*mapped.dropped, *dropped), notes)


def _config(tensors: Mapping[str, Tensor], model: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Plain Config values; what tensors show is taken from them."""
    for key, only in _ONLY.items():
        if model.get(key, only) != only:
            raise CheckpointError(f"{where}: {key}={model[key]!r} is not supported, only {only!r}")
    conv_layers = parse_conv_layers(model.get("conv_feature_layers"), where=where)
    context = parse_conv_layers(model.get("conv_aggregator_layers"), where=where)
    dim, skip = conv_layers[-1][0], model.get("skip_connections_agg", False)
    if any(layer[0] != dim or layer[2] != 1 for layer in context):
        raise CheckpointError(f"{where}: conv_aggregator_layers={context}: only {dim} channels at stride 1 fit")
    if skip and model.get("residual_scale", 0.5) != 0.5:
        raise CheckpointError(f"{where}: residual_scale={model['residual_scale']!r} is not supported, only 0.5")
    values = {
        "conv_layers": conv_layers, "context_kernels": [layer[1] for layer in context],
        "context_bias": "feature_aggregator.conv_layers.0.1.bias" in tensors,
        "context_zero_pad": _flag(model, "agg_zero_pad", where), "skip": _flag(model, "skip_connections_agg", where),
        "log_compression": _flag(model, "log_compression", where),
    }  # fmt: skip
    groups = model.get("vq_groups")
    if any(key.startswith("vector_quantizer.") for key in tensors):
        if type(groups) is not int or not 1 <= groups <= dim:
            raise CheckpointError(f"{where}: vq_groups={groups!r} is no number of codebooks")
        values |= _quantizer_config(tensors, groups, where=where)
    return values


def _flag(model: Mapping[str, Any], key: str, where: str) -> bool:
    """A switch that must be there: fairseq's defaults have changed over the years."""
    value = model.get(key)
    if type(value) is not bool:
        raise CheckpointError(f"{where}: {key} is missing from the settings or no bool: {value!r}")
    return value


def _quantizer_config(tensors: Mapping[str, Tensor], groups: int, *, where: str) -> dict[str, Any]:
    if "vector_quantizer.embedding" in tensors:
        book = tensors["vector_quantizer.embedding"]
        if book.ndim != 3:
            raise CheckpointError(f"{where}: a codebook of shape {list(book.shape)} is not [entries, groups, channels]")
        return {"quantizer": "kmeans", "groups": groups, "entries": len(book), "shared": book.shape[1] < groups}
    projections = [key for key in tensors if key.startswith("vector_quantizer.weight_proj.") and key.endswith("weight")]
    book = tensors.get("vector_quantizer.vars")
    if book is None or book.ndim != 3 or not projections:
        raise CheckpointError(f"{where}: its quantizer is neither fairseq's Gumbel softmax nor its k-means")
    entries = len(tensors[_last(projections)]) // groups
    return {"quantizer": "gumbel", "groups": groups, "entries": entries, "depth": len(projections),
            "shared": book.shape[1] < groups * entries}  # fmt: skip


def _last(projections: list[str]) -> str:
    """The one that gives the logits: weight_proj.weight, or weight_proj.N.weight behind blocks weight_proj.N.0."""
    return min(projections, key=lambda key: key.count("."))


def _quantizer(tensors: Mapping[str, Tensor], values: Mapping[str, Any], *, where: str) -> dict[str, Tensor]:
    """With codebooks as [G, V, D], and one name for what gives the logits."""
    found = dict(tensors)
    if "quantizer" not in values:
        return found
    kept = 1 if values["shared"] else values["groups"]
    if values["quantizer"] == "kmeans":
        found["vector_quantizer.codebook"] = found.pop("vector_quantizer.embedding").transpose(0, 1).contiguous()
        return found
    book = found.pop("vector_quantizer.vars")
    if book.shape[:2] != (1, kept * values["entries"]):
        raise CheckpointError(f"{where}: a codebook of shape {list(book.shape)} is not {kept} of {values['entries']}")
    found["vector_quantizer.codebook"] = book.reshape(kept, values["entries"], -1)
    projections = [key for key in found if key.startswith("vector_quantizer.weight_proj.") and key.endswith("weight")]
    stem = _last(projections).removesuffix("weight")
    for part in ("weight", "bias"):
        if stem + part in found:
            found[f"vector_quantizer.logits.{part}"] = found.pop(stem + part)
    return found
