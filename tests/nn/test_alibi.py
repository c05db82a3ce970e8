"""Attention biases that fall with distance."""

import pytest
import torch

from speechssl.encoders import data2vec2_audio
from speechssl.nn.alibi import AlibiTransformer, slopes
from tests.encoders.parity import randomize


def make(num_heads: int = 4) -> AlibiTransformer:
    transformer = AlibiTransformer(dim=24, ffn_dim=12, num_layers=2, num_heads=num_heads, norm_first=False, eps=1e-5)
    randomize(transformer)
    transformer.slopes.copy_(slopes(num_heads))
    return transformer.double()


def test_slopes_are_the_papers() -> None:
    """arXiv:2108.12409, section 3: 1/2, 1/4 ... 1/256 for 8 heads; others as in the authors' code."""
    assert slopes(8).tolist() == [2.0**-n for n in range(1, 9)]
    assert slopes(16).tolist() == pytest.approx([2 ** (-n / 2) for n in range(1, 17)])
    assert slopes(12).tolist() == pytest.approx([2.0**-n for n in range(1, 9)] + [2 ** (-n / 2) for n in (1, 3, 5, 7)])
    assert slopes(1).tolist() == [2.0**-8]


def test_biases_by_hand() -> None:
    transformer = make(2)
    with torch.no_grad():
        transformer.scale.copy_(torch.tensor([2.0, -1.0]))  # a scale below 0 counts as 0
        transformer.slopes.copy_(torch.tensor([1 / 16, 1 / 256]))
    found = transformer.biases(torch.tensor([[0, 3, 4]]))
    assert found.shape == (1, 2, 3, 3)
    assert found[0, 0].tolist() == [[0, -3 / 8, -4 / 8], [-3 / 8, 0, -1 / 8], [-4 / 8, -1 / 8, 0]]
    assert not found[0, 1].any()
    assert transformer.positions(5)[0, 0].tolist() == [0, -1 / 8, -2 / 8, -3 / 8, -4 / 8]


def test_frames_that_are_left_out_are_frames_nobody_looks_at() -> None:
    """Encoding only some frames with their places is encoding all of them with the others hidden from attention."""
    transformer = make()
    with torch.no_grad():
        transformer.scale.copy_(torch.tensor([1.0, 3.0, 0.5, 2.0]))
    x = torch.randn(1, 11, 24, dtype=torch.float64)
    places = torch.tensor([[1, 2, 5, 9, 10]])
    stays = torch.zeros(1, 11, dtype=torch.bool).index_fill(1, places[0], True)
    hidden = transformer(x, stays)[stays]
    left_out = transformer(x[:, places[0]], positions=transformer.biases(places))[0]
    torch.testing.assert_close(left_out, hidden)
    assert not torch.allclose(transformer(x[:, places[0]])[0], hidden, atol=1e-3)  # without their places


def test_the_scale_is_trained_and_kept_by_the_family() -> None:
    model = data2vec2_audio.Model(data2vec2_audio.Config(
        conv_layers=((8, 10, 5),), dim=16, ffn_dim=8, num_layers=1, num_heads=2, pos_conv_kernel=3, pos_conv_groups=4,
    ))  # fmt: skip
    model(torch.randn(1, 100))[0].square().sum().backward()
    assert model.transformer.scale.grad is not None and bool((model.transformer.scale.grad != 0).all())
    assert "transformer.scale" in model.state_dict() and "transformer.slopes" not in model.state_dict()
