"""Attention and blocks against their formulas, written out slowly in float64, gradients included."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.nn.attention import Attention, score_bias
from speechssl.nn.projection import FeatureProjection
from speechssl.nn.transformer import Transformer


def slow_attention(layer: Attention, x: Tensor, keys: list[int], bias: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(d) + bias) v over the frames `keys`, head by head and query by query, of x [T, C]."""
    heads, size = layer.num_heads, x.shape[1] // layer.num_heads
    query, key, value = (F.linear(x, p.weight, p.bias) for p in (layer.query, layer.key, layer.value))
    rows = []
    for t in range(len(x)):
        parts = []
        for h in range(heads):
            span = slice(h * size, (h + 1) * size)
            scores = torch.stack([query[t, span] @ key[j, span] for j in keys]) / math.sqrt(size)
            if bias is not None:
                scores = scores + bias[h, t, keys]
            weights = scores.exp() / scores.exp().sum()
            parts.append(sum(w * value[j, span] for w, j in zip(weights, keys, strict=True)))
        rows.append(torch.cat(parts))
    return F.linear(torch.stack(rows), layer.out.weight, layer.out.bias)


@pytest.mark.parametrize("with_bias", [False, True])
def test_attention_by_definition_with_padding_and_bias(with_bias: bool) -> None:
    layer = Attention(6, 2).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    keys = torch.arange(5) < torch.tensor([[5], [3]])
    bias = torch.randn(2, 5, 5, dtype=torch.float64) if with_bias else None
    y = layer(x, keys, bias)
    for row, n in enumerate((5, 3)):
        torch.testing.assert_close(y[row], slow_attention(layer, x[row], list(range(n)), bias))
    torch.testing.assert_close(layer(x)[1], slow_attention(layer, x[1], list(range(5))))


def test_attention_gradients_are_exact() -> None:
    layer = Attention(4, 2).double()
    keys = torch.tensor([[True, True, False]])
    bias = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, bias: layer(x, keys, bias), (x, bias))


def test_score_bias_by_hand() -> None:
    keys, bias = torch.tensor([[True, False]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert score_bias(None, None) is None
    assert score_bias(None, bias) is bias
    mask, both = score_bias(keys, None), score_bias(keys, bias)
    assert mask is not None and mask.tolist() == [[[[True, False]]]]
    assert both is not None and both.tolist() == [[[[1.0, -math.inf], [3.0, -math.inf]]]]


def norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
    scale = (x.var(-1, unbiased=False, keepdim=True) + layer.eps).sqrt()
    return (x - x.mean(-1, keepdim=True)) / scale * layer.weight + layer.bias


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("norm_first", [False, True])
def test_states_by_definition(norm_first: bool) -> None:
    transformer = Transformer(dim=6, ffn_dim=8, num_layers=3, num_heads=2, norm_first=norm_first, eps=1e-3).double()
    for p in transformer.parameters():
        p.data = torch.randn_like(p) * 0.5
    x = torch.randn(1, 5, 6, dtype=torch.float64)
    states = list(transformer.states(x))
    y = x[0] if norm_first else norm(x[0], transformer.norm)
    assert len(states) == 4
    torch.testing.assert_close(states[0][0], y)
    for state, block in zip(states[1:], transformer.layers, strict=True):
        ffn = block.ffn
        if norm_first:
            y = y + slow_attention(block.attention, norm(y, block.attention_norm), list(range(5)))
            z = norm(y, block.ffn_norm)
            y = y + F.linear(gelu(F.linear(z, ffn.up.weight, ffn.up.bias)), ffn.down.weight, ffn.down.bias)
        else:
            y = norm(y + slow_attention(block.attention, y, list(range(5))), block.attention_norm)
            z = F.linear(gelu(F.linear(y, ffn.up.weight, ffn.up.bias)), ffn.down.weight, ffn.down.bias)
            y = norm(y + z, block.ffn_norm)
        torch.testing.assert_close(state[0], y)
    torch.testing.assert_close(transformer(x)[0], norm(y, transformer.norm) if norm_first else y)


def test_states_are_lazy() -> None:
    transformer = Transformer(dim=4, ffn_dim=4, num_layers=3, num_heads=1)
    calls: list[int] = []
    for i, block in enumerate(transformer.layers):
        block.register_forward_hook(lambda *_, i=i: calls.append(i))
    for expected, _ in enumerate(transformer.states(torch.randn(1, 3, 4))):
        assert calls == list(range(expected))


def test_positions_are_asked_once_and_reach_every_block() -> None:
    class Told(nn.Module):
        def forward(self, x: Tensor, keys: Tensor | None, positions: Tensor) -> Tensor:
            told.append(positions)
            return x

    class WithPositions(Transformer):
        def positions(self, num_frames: int) -> Tensor:
            asked.append(num_frames)
            return torch.full((1,), float(num_frames))

    told: list[Tensor] = []
    asked: list[int] = []
    transformer = WithPositions(dim=4, ffn_dim=4, num_layers=3, num_heads=1, attention=Told, norm=False)
    assert not [name for name in transformer.state_dict() if name.startswith("norm.")]
    transformer(torch.randn(2, 7, 4))
    assert asked == [7] and [float(p) for p in told] == [7.0] * 3


def test_an_utterance_without_frames_neither_crashes_nor_spreads_nan() -> None:
    transformer = Transformer(dim=4, ffn_dim=4, num_layers=2, num_heads=2)
    x = torch.randn(2, 3, 4, requires_grad=True)
    y = transformer(x, torch.tensor([[True, True, False], [False, False, False]]))
    y.square().sum().backward()
    assert y.isfinite().all() and x.grad is not None and x.grad.isfinite().all()


def test_an_utterance_without_frames_attends_to_its_padding() -> None:
    """A softmax over nothing is NaN in some attention kernels and 0 in others."""

    class Told(nn.Module):
        def forward(self, x: Tensor, keys: Tensor, positions: Tensor | None) -> Tensor:
            told.append(keys)
            return x

    told: list[Tensor] = []
    valid = torch.tensor([[True, True, False], [False, False, False]])
    Transformer(dim=4, ffn_dim=4, num_layers=1, num_heads=1, attention=Told)(torch.randn(2, 3, 4), valid)
    assert told[0].tolist() == [[True, True, False], [True, True, True]]


def test_projection_refuses_channels_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="8 channels must equal dim 6"):
        FeatureProjection(8, 6, linear=False)
    assert not FeatureProjection(6, 6, norm=False, linear=False).state_dict()


def test_attention_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="dim 6"):
        Attention(6, 4)
