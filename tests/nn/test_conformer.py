"""Conformer blocks: equal to torchaudio's and to transformers' on random weights, and to their formulas."""

import math
from typing import Any

import pytest
import torch
import torchaudio
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.conformer import Conformer, ConformerBlock, ConvModule
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.relative_attention import RelativeAttention, by_distance, relative_sinusoids
from tests.encoders.parity import randomize

LENGTHS = torch.tensor([9, 5, 1])


def from_torchaudio(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of torchaudio's conformer under our names."""
    parts = {"ffn1.sequential.0": "first_norm", "ffn1.sequential.1": "first.up", "ffn1.sequential.4": "first.down",
             "self_attn_layer_norm": "attention_norm", "self_attn.out_proj": "attention.out",
             "conv_module.layer_norm": "conv_norm", "conv_module.sequential.0": "conv.up",
             "conv_module.sequential.2": "conv.depthwise", "conv_module.sequential.3": "conv.norm",
             "conv_module.sequential.5": "conv.down", "ffn2.sequential.0": "second_norm",
             "ffn2.sequential.1": "second.up", "ffn2.sequential.4": "second.down",
             "final_layer_norm": "norm"}  # fmt: skip
    found = {}
    for key, tensor in state.items():
        _, number, rest = key.split(".", 2)
        if rest.startswith("self_attn.in_proj_"):
            for name, part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[f"layers.{number}.attention.{name}.{rest.removeprefix('self_attn.in_proj_')}"] = part
            continue
        module, _, kind = rest.rpartition(".")
        pointwise = module in ("conv_module.sequential.0", "conv_module.sequential.5") and kind == "weight"
        found[f"layers.{number}.{parts[module]}.{kind}"] = tensor.squeeze(2) if pointwise else tensor
    return found


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_outputs_and_gradients_equal_torchaudios(group: bool, first: bool) -> None:
    torch.manual_seed(0)
    theirs = torchaudio.models.Conformer(12, 3, 20, 2, 5, use_group_norm=group, convolution_first=first).double()
    randomize(theirs)
    ours = Conformer(dim=12, ffn_dim=20, num_layers=2, num_heads=3, kernel=5, norm="group" if group else "batch",
                     relative=False, conv_first=first).double()  # fmt: skip
    ours.load_state_dict(from_torchaudio(theirs.state_dict()))
    for training in (False, True):  # batch norm: running statistics, then those of the batch
        theirs.train(training), ours.train(training)
        x = torch.randn(2, 9, 12, dtype=torch.float64)
        one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
        expected, found = theirs(one, torch.tensor([9, 9]))[0], ours(two)
        torch.testing.assert_close(found, expected)
        weights = torch.randn_like(found)
        torch.testing.assert_close(torch.autograd.grad((found * weights).sum(), two),
                                   torch.autograd.grad((expected * weights).sum(), one))  # fmt: skip


def test_a_block_with_relative_positions_equals_that_of_transformers() -> None:
    from transformers import Wav2Vec2ConformerConfig
    from transformers.models.wav2vec2_conformer import modeling_wav2vec2_conformer as hf

    config = Wav2Vec2ConformerConfig(
        hidden_size=12, num_attention_heads=3, intermediate_size=20, position_embeddings_type="relative",
        conv_depthwise_kernel_size=5, hidden_act="swish", hidden_dropout=0.0, attention_dropout=0.0,
        activation_dropout=0.0, conformer_conv_dropout=0.0, max_source_positions=50,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = hf.Wav2Vec2ConformerEncoderLayer(config).double().eval()
    randomize(theirs)
    parts = {"ffn1_layer_norm": "first_norm", "ffn1.intermediate_dense": "first.up", "ffn1.output_dense": "first.down",
             "self_attn_layer_norm": "attention_norm", "self_attn.linear_q": "attention.query",
             "self_attn.linear_k": "attention.key", "self_attn.linear_v": "attention.value",
             "self_attn.linear_out": "attention.out", "self_attn.linear_pos": "attention.position",
             "self_attn.pos_bias_u": "attention.content_bias", "self_attn.pos_bias_v": "attention.position_bias",
             "conv_module.layer_norm": "conv_norm", "conv_module.pointwise_conv1": "conv.up",
             "conv_module.depthwise_conv": "conv.depthwise", "conv_module.batch_norm": "conv.norm",
             "conv_module.pointwise_conv2": "conv.down", "ffn2_layer_norm": "second_norm",
             "ffn2.intermediate_dense": "second.up", "ffn2.output_dense": "second.down",
             "final_layer_norm": "norm"}  # fmt: skip
    state = {}
    for key, tensor in theirs.state_dict().items():
        name = next(part for part in parts if key == part or key.startswith(f"{part}."))
        state[parts[name] + key.removeprefix(name)] = (
            tensor.squeeze(2) if "pointwise" in key and tensor.ndim == 3 else tensor
        )
    ours = ConformerBlock(RelativeAttention(12, 3), dim=12, ffn_dim=20, kernel=5, norm="batch", bias=False).double()
    ours.load_state_dict(state)
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    embeddings = hf.Wav2Vec2ConformerRelPositionalEmbedding(config)(x)
    torch.testing.assert_close(relative_sinusoids(9, 12).double(), embeddings[0].double())
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = theirs(one, relative_position_embeddings=embeddings.double())[0]
    found = ours.eval()(two, None, relative_sinusoids(9, 12).double())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), two),
                               torch.autograd.grad(expected.square().sum(), one))  # fmt: skip


def test_relative_attention_by_its_formula() -> None:
    torch.manual_seed(0)
    layer = RelativeAttention(6, 2).double()
    randomize(layer)
    x, size = torch.randn(1, 4, 6, dtype=torch.float64), 3
    keys = torch.tensor([[True, True, True, False]])
    found = layer(x, keys, relative_sinusoids(4, 6).double())[0]
    query, key, value = (part(x[0]) for part in (layer.query, layer.key, layer.value))
    rows = []
    for i in range(4):
        heads = []
        for h in range(2):
            span, scores = slice(h * size, (h + 1) * size), []
            for j in range(3):
                angles = [(i - j) * 10000 ** (-2 * k / 6) for k in range(3)]
                r = torch.tensor([f(a) for a in angles for f in (math.sin, math.cos)], dtype=torch.float64)
                distance = (layer.position.weight @ r)[span]
                u, v = layer.content_bias[h], layer.position_bias[h]
                scores.append(((query[i, span] + u) @ key[j, span] + (query[i, span] + v) @ distance) / math.sqrt(size))
            weights = torch.stack(scores).softmax(0)
            heads.append(sum(w * value[j, span] for j, w in enumerate(weights)))
        rows.append(layer.out(torch.cat(heads)))
    torch.testing.assert_close(found, torch.stack(rows), rtol=1e-5, atol=1e-6)  # sinusoids are float32


def test_scores_by_distance_by_hand() -> None:
    scores = torch.arange(15.0).reshape(3, 5)  # distances 2 1 0 -1 -2 in the columns
    assert by_distance(scores).tolist() == [[2, 3, 4], [6, 7, 8], [10, 11, 12]]


@pytest.mark.parametrize("norm", ["layer", "batch", "group"])
@pytest.mark.parametrize("training", [False, True])
def test_batched_equals_one_by_one(norm: Any, training: bool) -> None:
    torch.manual_seed(0)
    blocks = Conformer(dim=12, ffn_dim=20, num_layers=2, num_heads=3, kernel=5, norm=norm).train(training)
    randomize(blocks)
    x = torch.randn(3, 9, 12)
    valid = torch.arange(9) < LENGTHS.unsqueeze(1)
    with torch.no_grad():
        together = blocks(torch.where(valid.unsqueeze(-1), x, 1e3), valid)
        alone = [blocks(x[row : row + 1, :length])[0] for row, length in enumerate(LENGTHS.tolist())]
    same = [torch.allclose(together[row, :n], alone[row], atol=1e-4) for row, n in enumerate(LENGTHS.tolist())]
    assert all(same) or (norm == "batch" and training), "only a batch norm in training looks at neighbours"


def test_a_batch_norm_sees_real_frames_only() -> None:
    torch.manual_seed(0)
    module = ConvModule(4, kernel=3, norm="batch").train()
    x = torch.randn(3, 9, 4)
    valid = torch.arange(9) < LENGTHS.unsqueeze(1)
    module(torch.where(valid.unsqueeze(-1), x, 1e6), valid)
    assert isinstance(module.norm, nn.BatchNorm1d) and module.norm.running_var is not None
    assert float(module.norm.running_var.max()) < 10


def test_dropout_reaches_every_part_and_even_kernels_are_refused() -> None:
    blocks = Conformer(dim=12, ffn_dim=20, num_layers=1, num_heads=3, kernel=5).train()
    x = torch.randn(1, 6, 12)
    for part in ("residual", "attention", "activation"):
        off = dict.fromkeys(("residual", "attention", "activation", "layer"), 0.0)
        set_dropout(blocks, Dropout(**off))
        torch.testing.assert_close(blocks(x), blocks(x))
        set_dropout(blocks, Dropout(**{**off, part: 0.5}))
        assert not torch.equal(blocks(x), blocks(x)), part
    with pytest.raises(ConfigError, match="odd"):
        ConvModule(4, kernel=4)
