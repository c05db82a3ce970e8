"""How fairseq's speech-to-unit models name their tensors, and in which order their dictionaries number symbols.

From fairseq/models/speech_to_speech/s2s_transformer.py, models/speech_to_text/s2t_{transformer,conformer}.py,
modules/conformer_layer.py and espnet_multihead_attention.py. A dictionary begins with <s>, <pad>, </s>, <unk>; units
and symbols come behind. A decoder starts from </s> and ends with it: our `end`. The other three are never said, but
were part of the softmax: our `silent` ones. CTC's blank is <s>; the other three stay symbols that no target has.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from speechssl.convert.keys import Table
from speechssl.errors import CheckpointError

SPECIAL = 4  # symbols at the beginning of every dictionary
SILENT = SPECIAL - 1
_ATTENTION = {"q": "query", "k": "key", "v": "value", "out": "out"}
_BUFFERS = ("*version", "*embed_positions._float_tensor", "*embed_positions.weights", "*rotary_emb.inv_freq")


def _attention(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"{theirs}.{form}.{{p}}", f"{ours}.{own}.{{p}}")
                 for name, own in _ATTENTION.items() for form in (f"{name}_proj", f"linear_{name}"))  # fmt: skip


def _block(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    """A transformer's block, of an encoder or a decoder."""
    return (
        *_attention(theirs + "self_attn", ours + "attention"),
        (theirs + "self_attn_layer_norm.{p}", ours + "attention_norm.{p}"),
        *_attention(theirs + "encoder_attn", ours + "cross"),
        (theirs + "encoder_attn_layer_norm.{p}", ours + "cross_norm.{p}"),
        (theirs + "fc1.{p}", ours + "ffn.up.{p}"), (theirs + "fc2.{p}", ours + "ffn.down.{p}"),
        (theirs + "final_layer_norm.{p}", ours + "ffn_norm.{p}"),
    )  # fmt: skip


def _conformer_block(theirs: str, ours: str) -> tuple[tuple[str, str], ...]:
    network = ((theirs + f"{name}.{part}.{{p}}", ours + f"{own}.{{p}}")
               for name, first in (("ffn1", "first"), ("ffn2", "second"))
               for part, own in (("layer_norm", f"{first}_norm"), ("w_1", f"{first}.up"), ("w_2", f"{first}.down"))
               )  # fmt: skip
    return (
        *network,
        *_attention(theirs + "self_attn", ours + "attention"),
        (theirs + "self_attn.linear_pos.{p}", ours + "attention.position.{p}"),
        (theirs + "self_attn.pos_bias_u", ours + "attention.content_bias"),
        (theirs + "self_attn.pos_bias_v", ours + "attention.position_bias"),
        (theirs + "self_attn_layer_norm.{p}", ours + "attention_norm.{p}"),
        (theirs + "conv_module.layer_norm.{p}", ours + "conv_norm.{p}"),
        (theirs + "conv_module.pointwise_conv1.{p}", ours + "conv.up.{p}"),  # [2 C, C, 1], see `adaptor`
        (theirs + "conv_module.depthwise_conv.{p}", ours + "conv.depthwise.{p}"),
        (theirs + "conv_module.batch_norm.{p}", ours + "conv.norm.{p}"),
        (theirs + "conv_module.pointwise_conv2.{p}", ours + "conv.down.{p}"),
        (theirs + "final_layer_norm.{p}", ours + "norm.{p}"),
    )  # fmt: skip


_ADAPTOR = Table(
    (
        ("subsample.conv_layers.{i}.{p}", "subsample.layers.{i}.{p}"),
        ("linear.{p}", "linear.{p}"),
        ("layer_norm.{p}", "blocks.norm.{p}"),
        *_block("transformer_layers.{i}.", "blocks.layers.{i}."),
        *_conformer_block("conformer_layers.{i}.", "blocks.layers.{i}."),
    ),
    _BUFFERS,
)
_DECODER = Table(
    (
        ("embed_tokens.weight", "embedding.weight"),
        ("embed_tokens.project_in_dim.weight", "join.weight"),
        ("project_in_dim.weight", "join.weight"),  # before fairseq moved it
        ("out_proj_n_frames.weight", "spread.weight"),
        ("embed_positions.weight", "places.weight"),
        ("output_projection.weight", "output.weight"),
        ("embed_out", "output.weight"),  # before fairseq renamed it
        ("layer_norm.{p}", "norm.{p}"),
        *_block("layers.{i}.", "layers.{i}."),
    ),
    _BUFFERS,
)


def adaptor(tensors: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """An encoder's tensors, its prefix taken off, under the names of `nn.adaptor`."""
    found = _ADAPTOR.to_ours(tensors, where=f"{where}: encoder").tensors
    pointwise = (".conv.up.weight", ".conv.down.weight")
    for name in [name for name in found if name.endswith(pointwise)]:
        found[name] = found[name].flatten(1)  # kernels of 1 frame
    return found


def decoder(tensors: Mapping[str, Tensor], *, tied: bool, where: str) -> dict[str, Tensor]:
    """A decoder's tensors, its prefix taken off, under the names of `decoders.transformer`, symbols in our order."""
    found = _DECODER.to_ours(tensors, where=where).tensors
    if tied and "output.weight" in found:
        output = found.pop("output.weight")
        if "embedding.weight" in found and not torch.equal(output, found["embedding.weight"]):
            raise CheckpointError(f"{where}: share_decoder_input_output_embed is said, but embed_tokens and "
                                  "output_projection differ")  # fmt: skip
    for name in found.keys() & {"embedding.weight", "output.weight"}:
        found[name] = found[name][_order(len(found[name]), where)]
    return found


def ctc(tensors: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """A CTC head's tensors, its prefix taken off: the blank last, every other symbol one place further up."""
    if set(tensors) != {"proj.weight", "proj.bias"}:
        raise CheckpointError(f"{where}: a CTC head has proj.weight and proj.bias, not {sorted(tensors)[:4]}")
    return {name.removeprefix("proj."): tensor.roll(-1, 0) for name, tensor in tensors.items()}


def _order(size: int, where: str) -> list[int]:
    """Units, then the end, then what is never said."""
    if size <= SPECIAL:
        raise CheckpointError(f"{where}: a dictionary of {size} symbols has no units behind its first {SPECIAL}")
    return [*range(SPECIAL, size), 2, 0, 1, 3]
