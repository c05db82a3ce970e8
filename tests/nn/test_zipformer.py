"""Zipformer's parts by their formulas, and its stacks at several rates."""

import math

import pytest
import torch
from torch import Tensor

from speechssl.errors import ConfigError
from speechssl.nn.dropout import Dropout, set_dropout
from speechssl.nn.zipformer import (
    BiasNorm,
    Bypass,
    NonLinearAttention,
    Zipformer,
    ZipformerBlock,
    ZipformerStack,
    swoosh_l,
    swoosh_r,
)  # fmt: skip
from tests.encoders.parity import randomize


def small(*, dim: int = 12) -> Zipformer:
    torch.manual_seed(0)
    blocks = Zipformer(dim=dim, ffn_dim=16, num_blocks=(1, 2, 1), factors=(1, 3, 2), num_heads=2, kernel=5).eval()
    randomize(blocks)
    return blocks


def test_swooshes_by_hand() -> None:
    x = torch.tensor([-3.0, 0.0, 2.0, 50.0], dtype=torch.float64)
    for value, r, left in zip(x.tolist(), swoosh_r(x).tolist(), swoosh_l(x).tolist(), strict=True):
        assert r == pytest.approx(math.log1p(math.exp(value - 1)) - 0.08 * value - 0.313261687)
        assert left == pytest.approx(math.log1p(math.exp(value - 4)) - 0.08 * value - 0.035)
    assert float(swoosh_r(torch.zeros(()))) == pytest.approx(0, abs=1e-6)


def test_bias_norm_by_its_formula_with_gradients() -> None:
    norm = BiasNorm(3).double()
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([0.5, -1.0, 0.0]))
        norm.log_scale.fill_(0.3)
    x = torch.tensor([[1.0, 2.0, -2.0]], dtype=torch.float64, requires_grad=True)
    rms = math.sqrt((0.5**2 + 3.0**2 + 2.0**2) / 3)
    torch.testing.assert_close(norm(x), x * math.exp(0.3) / rms)
    torch.autograd.gradcheck(norm, (x,))
    assert norm(torch.zeros(1, 3).double()).isfinite().all()


def test_a_bypass_stays_within_its_limits() -> None:
    bypass, x, y = Bypass(3), torch.zeros(1, 3), torch.ones(1, 3)
    with torch.no_grad():
        bypass.share.copy_(torch.tensor([-1.0, 0.6, 2.0]))
    torch.testing.assert_close(bypass(x, y), torch.tensor([[0.2, 0.6, 1.0]]))


def test_non_linear_attention_by_its_formula() -> None:
    torch.manual_seed(0)
    layer = NonLinearAttention(4).double()
    x, weights = torch.randn(1, 3, 4, dtype=torch.float64), torch.rand(1, 3, 3, dtype=torch.float64)
    parts = [x[0] @ layer.up.weight[i : i + 3].T + layer.up.bias[i : i + 3] for i in (0, 3, 6)]
    rows = [parts[0][i] * sum(weights[0, i, j] * torch.tanh(parts[1][j]) * parts[2][j] for j in range(3))
            for i in range(3)]  # fmt: skip
    torch.testing.assert_close(layer(x, weights)[0], layer.down(torch.stack(rows)))


def test_frames_become_one_by_their_shares_and_are_repeated() -> None:
    stack = ZipformerStack(lambda: ZipformerBlock(dim=2, ffn_dim=4, num_heads=1, kernel=1), dim=2, num_blocks=0,
                           factor=2)  # fmt: skip
    with torch.no_grad():
        stack.shares.copy_(torch.tensor([math.log(3), 0.0]))
        stack.bypass.share.fill_(1)
    x = torch.tensor([[1.0, 0], [5, 0], [7, 0], [100, 0], [100, 0]]).unsqueeze(0)
    valid = torch.tensor([[True, True, True, False, False]])
    assert stack(x, valid)[0, :3, 0].tolist() == pytest.approx([2, 2, 7])  # 3/4 and 1/4; a frame alone counts whole
    assert stack(x[:, :3])[0, :, 0].tolist() == pytest.approx([2, 2, 7])


@pytest.mark.parametrize("length", [1, 2, 5, 8, 9])
def test_batched_equals_one_by_one(length: int) -> None:
    blocks, x = small(), torch.randn(2, 10, 12, generator=torch.Generator().manual_seed(1))
    valid = torch.arange(10) < torch.tensor([[10], [length]])
    with torch.no_grad():
        together = blocks(torch.where(valid.unsqueeze(-1), x, 1e3), valid)
        torch.testing.assert_close(together[0], blocks(x[:1])[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[1, :length], blocks(x[1:, :length])[0], rtol=1e-4, atol=1e-5)


def test_a_block_knows_the_order_of_frames_without_its_convolutions() -> None:
    torch.manual_seed(0)
    blocks = Zipformer(dim=12, ffn_dim=16, num_blocks=(1,), factors=(1,), num_heads=2, kernel=1).eval()
    randomize(blocks)
    x = torch.randn(1, 6, 12)
    assert not torch.allclose(blocks(x.flip(1)).flip(1), blocks(x), atol=1e-3)


def test_every_parameter_learns_and_dropout_reaches_it() -> None:
    blocks, x = small().train(), torch.randn(2, 7, 12)
    (blocks(x) * torch.randn(2, 7, 12)).sum().backward()
    for name, parameter in blocks.named_parameters():
        gradient: Tensor | None = parameter.grad
        assert gradient is not None and (gradient.abs().max() > 0 or name.endswith("weights.key.bias")), name
    set_dropout(blocks, Dropout(residual=0.5, layer=0.0))
    assert not torch.equal(blocks(x), blocks(x))


def test_impossible_stacks_are_refused() -> None:
    for numbers, factors in (((1,), (1, 2)), ((1, 0), (1, 2)), ((1,), (0,))):
        with pytest.raises(ConfigError, match="factors"):
            Zipformer(dim=12, ffn_dim=16, num_blocks=numbers, factors=factors, num_heads=2)
