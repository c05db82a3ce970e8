"""HuBERT-Soft, the content encoder released with arXiv:2111.02392: HuBERT base and the head that gives soft units.

A flat state dict (the HuBERT that the authors started from has the same names and 504 labels). It was trained on
waveforms that are not normalised. differs: the released code pads waveforms by 40 samples on either side, so that its
frames are 20 ms apart from the first sample on and one more; ours are not padded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechssl.convert import inferred, tables, weights
from speechssl.convert.normalization import Normalization
from speechssl.convert.packed import unpack
from speechssl.encoders.pretrained import Pretrained

_EPS = 1e-5
_MARKS = {"label_embedding.weight", "proj.weight", "feature_extractor.conv0.weight"}
_PACKED = ".self_attn.in_proj_"


def is_state_dict(tree: Mapping[Any, Any]) -> bool:
    """Whether a flat dict has its names, as they are or below `module.`."""
    return {f"module.{mark}" for mark in _MARKS} <= set(tree) or set(tree) >= _MARKS


def load(tensors: Mapping[str, Tensor], path: Path, *, normalization: Normalization) -> weights.Loaded:
    """The encoder, and in `codebook` its head: head_weight, head_bias, codes. Raises CheckpointError."""
    where, hints = str(path), inferred.read_hints(path)
    decided = normalization.decide(hints.pop("normalize", False), where)
    plain = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    folded = unpack(weights.fold_weight_norm(plain, where=where), _PACKED, ".self_attn.{}.", where=where)
    mapped = tables.soft_vc().to_ours(folded, where=where)
    model = weights.build_encoder("hubert", inferred.config_of(mapped.tensors, hints, where=where), mapped.tensors,
                                  where=where)  # fmt: skip
    card = weights.make_card("hubert", model, normalize=decided.value, eps=_EPS, name=path.name, source="soft-vc")
    head = {"head_weight": plain["proj.weight"], "codes": plain["label_embedding.weight"]}
    if "proj.bias" in plain:
        head["head_bias"] = plain["proj.bias"]
    return weights.Loaded(Pretrained(model, card), "soft-vc", mapped.dropped, decided.notes, head)
