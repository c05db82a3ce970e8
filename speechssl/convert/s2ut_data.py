"""What lies beside a fairseq checkpoint of a speech-to-unit model: how features are made, where multitask heads look.

`config.yaml` and `config_multitask.yaml` as fairseq/data/audio/data_cfg.py reads them. Their names are what the
checkpoint says they were, in its own folder; the paths in them are read as names there, too.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from speechssl import files as plain_files
from speechssl.convert import files, s2ut_keys, weights
from speechssl.decoders.seq2seq import DecoderShape, Task
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError
from speechssl.npy import read_npy

_MOST_STATISTICS = 1 << 20  # bytes of an .npz with two vectors
_NORMS = {"utterance_cmvn": "utterance", "global_cmvn": "global"}
_WITHOUT_EFFECT = {"specaugment"}  # on inference
# base_multitask_text_transformer_decoder_arch, for what decoder_args does not say.
_HEAD = {
    "decoder_embed_dim": 256, "decoder_ffn_embed_dim": 2048, "decoder_layers": 2, "decoder_attention_heads": 4,
    "decoder_normalize_before": True, "activation_fn": "relu", "decoder_learned_pos": False,
    "max_target_positions": 1024, "no_scale_embedding": False, "share_decoder_input_output_embed": True,
}  # fmt: skip


@dataclass(frozen=True)
class Heads:
    """Tasks by name, and what a user should know."""

    tasks: dict[str, Task] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def features(path: Path, said: Mapping[str, Any], first: Tensor, *, name: str) -> tuple[Pretrained, tuple[str, ...]]:
    """The filter bank under the first convolution's weight [C, M, K], and notes."""
    if first.ndim != 3:
        raise CheckpointError(f"{path}: encoder.subsample.conv_layers.0.weight is no convolution's")
    file = path.parent / Path(str(said.get("config_yaml") or "config.yaml")).name
    tensors: dict[str, Tensor] = {}
    if file.is_file():
        cmvn, tensors = _normalization(file, files.read_yaml(file))
        notes: tuple[str, ...] = ()
    else:
        cmvn = "utterance"
        notes = (f"no {file.name} beside it: features are taken to have utterance CMVN, as fairseq's preparation has",)
    values = {"num_mels": first.shape[1], "cmvn": cmvn}
    encoder = weights.build_encoder("fbank", values, tensors, where=str(file))
    card = weights.make_card("fbank", encoder, normalize=False, eps=1e-5, name=f"filter bank of {name}",
                             source="fairseq")  # fmt: skip
    return Pretrained(encoder, card), notes


def _normalization(file: Path, values: Mapping[str, Any]) -> tuple[str, dict[str, Tensor]]:
    """The kind of CMVN that evaluation has, and the statistics of a global one."""
    for key, only in (("use_audio_input", False), ("input_channels", 1), ("prepend_tgt_lang_tag_as_bos", False)):
        if values.get(key, only) != only:
            raise CheckpointError(f"{file}: {key}={values[key]!r} is not supported here")
    if values.get("target_speaker_embed"):
        raise CheckpointError(f"{file}: target_speaker_embed is not supported here")
    table = values.get("feature_transforms") or values.get("transforms") or {}
    steps = (table.get("_eval") or table.get("*") or []) if isinstance(table, dict) else table
    if not isinstance(steps, list) or not {str(step) for step in steps} <= _NORMS.keys() | _WITHOUT_EFFECT:
        raise CheckpointError(f"{file}: feature_transforms {steps!r:.200} are not supported here "
                              f"({', '.join(_NORMS)} are)")  # fmt: skip
    kinds = [_NORMS[step] for step in steps if step in _NORMS]
    if len(kinds) > 1:
        raise CheckpointError(f"{file}: feature_transforms {steps}: one after another is not supported here")
    options = _mapping(values.get("utterance_cmvn"))
    if "utterance" in kinds and not (options.get("norm_means", True) and options.get("norm_vars", True)):
        raise CheckpointError(f"{file}: utterance_cmvn {options} is not supported here: means and variances both")
    if kinds != ["global"]:
        return (kinds or ["none"])[0], {}
    stated = _mapping(values.get("global_cmvn")).get("stats_npz_path")
    if not isinstance(stated, str):
        raise CheckpointError(f"{file}: global_cmvn without stats_npz_path")
    return "global", _statistics(file.parent / Path(stated).name)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _statistics(path: Path) -> dict[str, Tensor]:
    """Mean and standard deviation of a global CMVN."""
    try:
        data = plain_files.read_bytes(path, most=_MOST_STATISTICS)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(archive.getinfo(f"{name}.npy").file_size > _MOST_STATISTICS for name in ("mean", "std")):
                raise CheckpointError(f"{path}: too large for statistics of a filter bank")
            arrays = {name: read_npy(archive.read(f"{name}.npy"), f"{path}: {name}") for name in ("mean", "std")}
    except (OSError, KeyError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not the statistics of global_cmvn: {error}") from error
    if any(array.dtype.kind not in "fiu" for array in arrays.values()) or not (arrays["std"] > 0).all():
        raise CheckpointError(f"{path}: mean and std must be numbers, std above 0")
    return {f"conv.{name}": torch.tensor(array.astype("float32")) for name, array in arrays.items()}


def tasks_of(path: Path, stated: object, heads: Mapping[str, Mapping[str, Tensor]], sizes: Mapping[str, int]) -> Heads:
    """The tasks whose heads' weights there are. sizes: encoder_layers and decoder_layers."""
    if not heads:
        return Heads()
    file = path.parent / Path(str(stated or "config_multitask.yaml")).name
    if not file.is_file():
        return Heads({}, (f"the heads of tasks {', '.join(sorted(heads))} are left out: {file.name}, which says at "
                          "which block each looks, is not beside the checkpoint",))  # fmt: skip
    values, tasks, notes = files.read_yaml(file), {}, []
    if missing := sorted(map(str, set(values) - set(heads))):
        raise CheckpointError(f"{path}: {file.name} has a task {missing[0]!r}, the checkpoint no {missing[0]}_decoder")
    for name, tensors in heads.items():
        options = values.get(name)
        if not isinstance(options, dict):
            notes.append(f"the head of task {name} is left out: {file.name} does not have it")
            continue
        if options.get("is_first_pass_decoder"):
            raise CheckpointError(f"{file}: task {name}: is_first_pass_decoder: models of two passes are not supported")
        tasks[name] = _task(name, options, tensors, sizes, where=f"{file}: task {name}")
    return Heads(tasks, tuple(notes))


def _task(
    name: str, options: Mapping[str, Any], tensors: Mapping[str, Tensor], sizes: Mapping[str, int], *, where: str
) -> Task:
    side: Literal["adaptor", "decoder"] = "decoder" if "decoder_layer" in options else "adaptor"
    kind = options.get("decoder_type", "transformer")
    if kind not in ("ctc", "transformer"):
        raise CheckpointError(f"{where}: decoder_type={kind!r} is not supported here (ctc, transformer)")
    weight = options.get("loss_weight", options.get("loss_weight_max", 1.0))
    stated = options.get("decoder_layer" if side == "decoder" else "encoder_layer", 0)
    if type(stated) is not int or stated < 0 or not isinstance(weight, int | float) or weight <= 0:
        raise CheckpointError(f"{where}: layers must be at least 0, loss_weight above 0, got {stated!r} and {weight!r}")
    if side == "decoder" and stated == 1:
        raise CheckpointError(f"{where}: decoder_layer=1 looks at embeddings, which is not supported here")
    # 0: the last block. fairseq's list of a decoder's states begins with what enters its first block, that of an
    # encoder's with what the first block gives: decoder_layer=3 is what its second block gives.
    last = sizes["decoder_layers" if side == "decoder" else "encoder_layers"]
    layer = stated - (side == "decoder") if stated else last
    try:
        if kind == "ctc":
            return Task(name, len(tensors["proj.bias"]) - 1, "ctc", side, layer, float(weight))
        shape = _head_shape({**_HEAD, **(options.get("decoder_args") or {})}, tensors, where)
        symbols = len(tensors["embed_tokens.weight"]) - s2ut_keys.SPECIAL
        return Task(name, symbols, "attention", side, layer, float(weight), shape)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{where}: {error}") from error


def _head_shape(said: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> DecoderShape:
    def number(key: str) -> int:
        if type(said[key]) is not int or (key == "decoder_layers" and said[key] != num_blocks(tensors)):
            raise CheckpointError(f"{where}: {key}={said[key]!r} does not fit the weights")
        return int(said[key])

    return decoder_shape(said, number)


def num_blocks(tensors: Mapping[str, Tensor]) -> int:
    """Blocks of an encoder or decoder, its prefix taken off."""
    keys = (key.split(".") for key in tensors)
    return len({key[1] for key in keys if len(key) > 2 and key[0].endswith("layers") and key[0] != "conv_layers"})


def decoder_shape(said: Mapping[str, Any], number: Callable[[str], int], *, stack: int = 1) -> DecoderShape:
    """A decoder's settings, of units or of a task's symbols. ValueError for those that nothing can be built of."""
    return DecoderShape(
        dim=number("decoder_embed_dim"), ffn_dim=number("decoder_ffn_embed_dim"), num_layers=number("decoder_layers"),
        num_heads=number("decoder_attention_heads"), norm_first=bool(said["decoder_normalize_before"]),
        activation=said["activation_fn"], positions="learned" if said["decoder_learned_pos"] else "sinusoidal",
        max_positions=number("max_target_positions"), first_position=2, scale_embedding=not said["no_scale_embedding"],
        tied=bool(said["share_decoder_input_output_embed"]), silent=s2ut_keys.SILENT, stack=stack,
    )  # fmt: skip
