"""fairseq's speech-to-unit translators (`.pt`): s2ut_transformer, s2ut_transformer_fisher, s2ut_conformer.

arXiv:2107.05604. Encoder, unit decoder (stacked, too) and the multitask heads. Not in the checkpoint, but read from
files beside it, under the names that the checkpoint says: `config.yaml`, how features are normalised (none there:
utterance CMVN, which fairseq's preparation writes), and `config_multitask.yaml`, at which block a task's head looks
(none there: heads are left out). What we do not have is refused, by its key. Nothing in a file is executed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from speechssl.convert import fairseq, files, pickle_reader, s2ut_keys, weights
from speechssl.convert.s2ut_data import decoder_shape, features, num_blocks, tasks_of
from speechssl.decoders import seq2seq
from speechssl.decoders.seq2seq import Task
from speechssl.encoders.pretrained import Pretrained
from speechssl.errors import CheckpointError
from speechssl.nn.adaptor import Config as AdaptorConfig

_MARKS = {"encoder.subsample.conv_layers.0.weight", "decoder.embed_tokens.weight"}
_MODELS = ("s2ut_transformer", "s2ut_conformer")
# Defaults of the architectures, for checkpoints that do not say all; those of s2ut_transformer last.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "s2ut_transformer_fisher": {"encoder_embed_dim": 256, "encoder_attention_heads": 4},
    "s2ut_conformer": {"encoder_embed_dim": 256, "encoder_attention_heads": 4, "encoder_layers": 16},
    "": {
        "encoder_embed_dim": 512, "encoder_ffn_embed_dim": 2048, "encoder_layers": 12, "encoder_attention_heads": 8,
        "decoder_layers": 6, "decoder_attention_heads": 8, "decoder_normalize_before": True,
        "decoder_learned_pos": False, "share_decoder_input_output_embed": False, "max_target_positions": 1024,
        "no_scale_embedding": False, "activation_fn": "relu", "conv_kernel_sizes": "5,5", "conv_channels": 1024,
        "n_frames_per_step": 1, "depthwise_conv_kernel_size": 31, "pos_enc_type": "abs",
    },
}  # fmt: skip
# Settings with another effect than these values' cannot be had here.
_ONLY: dict[str, tuple[Any, ...]] = {
    "conv_version": ("s2t_transformer",), "encoder_normalize_before": (True,), "layernorm_embedding": (False,),
    "adaptive_input": (False,), "no_token_positional_embeddings": (False,), "cross_self_attention": (False,),
    "no_cross_attention": (False,), "no_decoder_final_norm": (False,), "target_speaker_embed": (False,),
    "target_is_code": (True,), "adaptive_softmax_cutoff": (), "base_layers": (0,),
}  # fmt: skip


@dataclass(frozen=True)
class LoadedTranslator:
    """What was found."""

    encoder: Pretrained  # the filter bank
    model: seq2seq.Model
    reduced: bool  # whether its units are runs merged: not in the file, see `notes`
    name: str
    dropped: tuple[str, ...] = ()  # tensors that were left out
    notes: tuple[str, ...] = field(default=())  # what a user should know


def is_tree(tree: Mapping[Any, Any]) -> bool:
    """Whether an unpickled file is a fairseq checkpoint of a speech-to-unit or speech-to-text model."""
    return fairseq.is_tree(tree) and isinstance(tree.get("model"), dict) and set(tree["model"]) >= _MARKS


def is_file(path: Path) -> bool:
    """Whether a file is one of these; False for one that cannot be read, too."""
    if not path.is_file() or path.suffix == ".safetensors":
        return False
    try:
        tree = pickle_reader.read_pickle_file(path)
    except CheckpointError:
        return False
    return isinstance(tree, dict) and is_tree(tree)


def load(path: Path) -> LoadedTranslator:
    """The translator in a checkpoint, in eval mode. Raises CheckpointError."""
    where, tree = str(path), pickle_reader.read_pickle_file(path)
    if not isinstance(tree, dict) or not is_tree(tree):
        raise CheckpointError(f"{path}: no speech-to-unit model of fairseq (s2ut_transformer, s2ut_conformer)")
    said = _said(tree, where)
    tensors = files.as_tensors(tree["model"], where=where)
    parts = _split(tensors, where)
    found = tasks_of(path, said.get("multitask_config_yaml"), parts.heads, parts.sizes)
    encoder, notes = features(path, said, tensors["encoder.subsample.conv_layers.0.weight"], name=path.name)
    config = our_config(said, parts.sizes, tuple(found.tasks.values()), where=where)
    renamed = {f"adaptor.{name}": tensor for name, tensor in s2ut_keys.adaptor(parts.encoder, where=where).items()}
    tied = config.decoder.tied
    renamed |= _under("decoder", s2ut_keys.decoder(parts.decoder, tied=tied, where=f"{where}: decoder"))
    for task, head in found.tasks.items():
        at = f"{where}: {task}_decoder"
        own = s2ut_keys.ctc(parts.heads[task], where=at) if head.kind == "ctc" else s2ut_keys.decoder(
            parts.heads[task], tied=head.decoder.tied, where=at)  # fmt: skip
        renamed |= _under(f"heads.{task}", own)
    model = weights.build(lambda: seq2seq.Model(config, encoder.encoder.dim), renamed, where=where)
    reduced = config.decoder.stack == 1
    notes += (*found.notes, f"units are taken to be {'reduced' if reduced else 'of all frames'}, which the file does "
              f"not say: n_frames_per_step is {config.decoder.stack}")  # fmt: skip
    dropped = tuple(f"{task}_decoder.{key}" for task, head in parts.heads.items() if task not in found.tasks
                    for key in head)  # fmt: skip
    return LoadedTranslator(encoder, model, reduced, path.name, dropped, notes)


@dataclass(frozen=True)
class _Parts:
    """Tensors without the prefixes of their parts."""

    encoder: dict[str, Tensor]
    decoder: dict[str, Tensor]
    heads: dict[str, dict[str, Tensor]]  # by task

    @property
    def sizes(self) -> dict[str, int]:
        """What the weights show: blocks of each part, and units."""
        return {"encoder_layers": num_blocks(self.encoder), "decoder_layers": num_blocks(self.decoder),
                "units": len(self.decoder["embed_tokens.weight"]) - s2ut_keys.SPECIAL}  # fmt: skip


def _split(tensors: Mapping[str, Tensor], where: str) -> _Parts:
    parts = _Parts({}, {}, {})
    for key, tensor in tensors.items():
        owner, _, rest = key.partition(".")
        if owner == "encoder":
            parts.encoder[rest] = tensor
        elif owner == "decoder":
            parts.decoder[rest] = tensor
        elif owner.endswith("_decoder"):
            parts.heads.setdefault(owner.removesuffix("_decoder"), {})[rest] = tensor
        else:
            raise CheckpointError(f"{where}: {key!r} belongs to no part of a speech-to-unit model")
    if parts.decoder["embed_tokens.weight"].ndim != 2:
        raise CheckpointError(f"{where}: decoder.embed_tokens.weight is no matrix")
    return parts


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _said(tree: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """All settings in one, with the architecture's defaults; what cannot be had is an error."""
    settings = fairseq.settings_of(tree, where)
    said = {**settings["task"], **settings["model"]}
    names = [str(said[key]) for key in ("arch", "_name") if said.get(key)]
    name = next((name for name in names if name.startswith(_MODELS)), "")
    if not name:
        shown = names[0] if names else "a model without a name"
        raise CheckpointError(f"{where}: {shown} is no speech-to-unit model of fairseq ({', '.join(_MODELS)})")
    for key, values in _ONLY.items():
        if (value := said.get(key)) is not None and value not in values:
            raise CheckpointError(f"{where}: {key}={value!r} is not supported here")
    base = _DEFAULTS[""] | _DEFAULTS.get(name, {})
    if name.startswith("s2ut_conformer"):
        base |= _DEFAULTS["s2ut_conformer"]
    known = {
        **base,
        **{key: value for key, value in said.items() if value is not None},
        "conformer": "conformer" in name,
    }
    for key, other in (("decoder_embed_dim", "encoder_embed_dim"), ("decoder_ffn_embed_dim", "encoder_ffn_embed_dim")):
        known.setdefault(key, known[other])
    for key in ("decoder_output_dim", "decoder_input_dim"):
        if known.get(key, known["decoder_embed_dim"]) != known["decoder_embed_dim"]:
            raise CheckpointError(f"{where}: {key}={known[key]!r} beside decoder_embed_dim="
                                  f"{known['decoder_embed_dim']!r} is not supported here")  # fmt: skip
    return known


def our_config(
    said: Mapping[str, Any], sizes: Mapping[str, int], tasks: tuple[Task, ...], *, where: str
) -> seq2seq.Config:
    """What we call its settings. CheckpointError where they do not fit the weights' `sizes`, or are not supported."""

    def number(key: str) -> int:
        if type(said[key]) is not int:
            raise CheckpointError(f"{where}: {key}={said[key]!r} is no whole number")
        if key in sizes and said[key] != sizes[key]:
            raise CheckpointError(f"{where}: {key}={said[key]}, but the weights are of {sizes[key]}")
        return int(said[key])

    kernels = [part.strip() for part in str(said["conv_kernel_sizes"]).split(",")]
    if len(set(kernels)) != 1 or not kernels[0].isdecimal() or len(kernels) > 100:
        raise CheckpointError(f"{where}: conv_kernel_sizes={said['conv_kernel_sizes']!r}: only equal ones can be had")
    units = said.get("target_code_size")
    if units is not None and units != sizes["units"]:
        raise CheckpointError(f"{where}: target_code_size={units!r}, but the decoder's embeddings are of "
                              f"{sizes['units']} units and {s2ut_keys.SPECIAL} more")  # fmt: skip
    try:
        adaptor = AdaptorConfig(
            strides=(2,) * len(kernels), kernel=int(kernels[0][:9]), channels=number("conv_channels"),
            dim=number("encoder_embed_dim"), ffn_dim=number("encoder_ffn_embed_dim"),
            num_layers=number("encoder_layers"), num_heads=number("encoder_attention_heads"),
            scale=not said["no_scale_embedding"], **_blocks_of(said, number, where),
        )  # fmt: skip
        shape = decoder_shape(said, number, stack=number("n_frames_per_step"))
        return seq2seq.Config(sizes["units"], adaptor=adaptor, decoder=shape, tasks=tasks)
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{where}: {error}") from error


def _blocks_of(said: Mapping[str, Any], number: Callable[[str], int], where: str) -> dict[str, Any]:
    """The kind of an encoder's blocks, and how they know the order of frames."""
    if not said["conformer"]:
        if said["activation_fn"] != "relu":
            raise CheckpointError(f"{where}: activation_fn={said['activation_fn']!r} is not supported in an encoder")
        return {"kind": "transformer", "first_position": 2}
    kind = {"abs": "sinusoidal", "rel_pos": "relative", "rope": "rotary"}.get(said["pos_enc_type"])
    plain = said.get("attn_type") != "espnet"
    if kind is None or (plain and kind == "relative"):
        raise CheckpointError(f"{where}: pos_enc_type={said['pos_enc_type']!r} with attn_type="
                              f"{said.get('attn_type')!r} is not supported here")  # fmt: skip
    if plain and kind == "rotary":
        kind = "none"  # fairseq's own attention is told no positions then
    return {"kind": "conformer", "positions": kind, "first_position": 2 if kind == "sinusoidal" else 0,
            "conv_kernel": number("depthwise_conv_kernel_size"), "conv_norm": "batch", "conv_bias": False,
            "linear": True}  # fmt: skip
