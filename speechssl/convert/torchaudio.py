"""State dicts of torchaudio's `Wav2Vec2Model`: wav2vec 2.0, HuBERT and WavLM, as its pipelines download them.

They hold neither settings nor the waveforms' normalisation. Sizes come from the shapes (see `inferred`), normalisation
from the caller, a hints file, or the table of known checkpoints by file name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechssl.convert import inferred, keys, tables, weights
from speechssl.convert.normalization import Normalization
from speechssl.convert.packed import unpack
from speechssl.encoders.pretrained import Pretrained

EPS = 1e-5  # torch's layer_norm over the whole waveform
_PACKED = ".attention.attention.in_proj_"  # WavLM keeps query, key and value in one tensor
_MARK = "encoder.feature_projection.projection.weight"
_WRAPPER = "wav2vec2."  # HuBERTPretrainModel


def is_state_dict(tree: Mapping[Any, Any]) -> bool:
    """Whether a flat dict has torchaudio's names."""
    return _MARK in tree or _WRAPPER + _MARK in tree


def load(tensors: dict[str, Tensor], path: Path, *, normalization: Normalization, family: str | None) -> weights.Loaded:
    """The encoder of a state dict; `family` from the table of known checkpoints. Raises CheckpointError."""
    where, hints = str(path), inferred.read_hints(path)
    stated = hints.pop("normalize", None)
    decided = normalization.decide(stated, where)
    tensors, outside = keys.strip_prefix(tensors, [_WRAPPER])
    tensors = unpack(weights.fold_weight_norm(tensors, where=where), _PACKED, ".attention.{}.", where=where)
    mapped = tables.torchaudio().to_ours(tensors, where=where)
    family = hints.pop("family", None) or _family(mapped.tensors, family, path.name)
    values = inferred.config_of(mapped.tensors, hints, where=where)
    notes = decided.notes
    if family == "wavlm" and "max_distance" not in values:
        values |= {"num_buckets": len(mapped.tensors["transformer.relative_embedding.weight"]), "max_distance": 800}
        notes += ("max_distance=800 as in every released WavLM; the weights do not show it",)
    model = weights.build_encoder(family, values, mapped.tensors, where=where)
    card = weights.make_card(family, model, normalize=decided.value, eps=EPS, name=path.name, source="torchaudio")
    return weights.Loaded(Pretrained(model, card), "torchaudio", (*mapped.dropped, *outside), notes)


def _family(tensors: Mapping[str, Tensor], known: str | None, name: str) -> str:
    """WavLM by its tensors; HuBERT and wav2vec 2.0 have the same ones and the same features, so the name decides."""
    if "transformer.relative_embedding.weight" in tensors:
        return "wavlm"
    return known or ("hubert" if "hubert" in name.lower() else "wav2vec2")
