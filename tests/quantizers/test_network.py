"""Quantizers that are trained networks: a prediction head, and fully connected layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.quantizers import Quantizer, SoftQuantizer
from speechssl.quantizers.cosine import Cosine
from speechssl.quantizers.mlp import MLP


def head(*, norm: bool = False) -> Cosine:
    random = torch.Generator().manual_seed(0)
    parts = [torch.randn(shape, generator=random) for shape in ((5, 6), (5,), (7, 5))]
    own = (torch.randn(6, generator=random), torch.randn(6, generator=random)) if norm else None
    return Cosine(*parts, torch.tensor(0.1), own)


def network() -> MLP:
    random = torch.Generator().manual_seed(0)
    shapes = [((8, 6), (8,)), ((7, 8), (7,))]
    return MLP([(torch.randn(w, generator=random), torch.randn(b, generator=random)) for w, b in shapes])


@pytest.fixture(params=["cosine", "normalised cosine", "mlp"])
def quantizer(request: pytest.FixtureRequest) -> Cosine | MLP:
    return network() if request.param == "mlp" else head(norm="norm" in request.param)


def frames(count: int = 200) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1))


def test_a_code_is_chosen_by_its_angle_not_its_length() -> None:
    """By hand: the frame (3, 1) lies 18 degrees from (9, 0), 27 from (0.1, 0.1) and 108 from (-9, -0)."""
    codes = torch.tensor([[-9.0, 0.0], [0.1, 0.1], [9.0, 0.0]])
    chosen = Cosine(torch.eye(2), torch.zeros(2), codes, torch.tensor(0.1))
    assert chosen.encode(torch.tensor([[3.0, 1.0], [3.0, 2.9]])).tolist() == [2, 1]
    cosines = torch.tensor([-3 / 10**0.5, 4 / 20**0.5, 3 / 10**0.5])
    torch.testing.assert_close(chosen.posteriors(torch.tensor([3.0, 1.0])), (cosines / 0.1).softmax(0))


def test_soft_units_are_the_projection() -> None:
    quantizer = head()
    torch.testing.assert_close(quantizer.soft(frames()), F.linear(frames(), quantizer.weight, quantizer.bias))
    normed = head(norm=True)
    assert normed.norm is not None
    expected = F.linear(F.layer_norm(frames(), (6,), *normed.norm), normed.weight, normed.bias)
    torch.testing.assert_close(normed.soft(frames()), expected)


@pytest.mark.parametrize("norm", [False, True])
def test_posteriors_agree_with_the_choice(norm: bool) -> None:
    quantizer = head(norm=norm)
    posteriors = quantizer.posteriors(frames())
    torch.testing.assert_close(posteriors.sum(-1), torch.ones(200))
    assert torch.equal(posteriors.argmax(-1), quantizer.encode(frames()))


def test_what_stands_for_a_code_has_it() -> None:
    quantizer = head()
    assert quantizer.encode(quantizer.decode(torch.arange(7))).tolist() == list(range(7))


def test_layers_with_leaky_relus_between_them() -> None:
    """By hand: -1 becomes -0.01 between the layers, and 2 stays."""
    layers = [(torch.eye(2), torch.tensor([0.0, 1.0])), (torch.tensor([[100.0, 0.0], [0.0, 1.0]]), torch.zeros(2))]
    torch.testing.assert_close(MLP(layers).logits(torch.tensor([-1.0, 1.0])), torch.tensor([-1.0, 2.0]).double())
    assert MLP(layers).encode(torch.tensor([[-1.0, 1.0], [1.0, 1.0]])).tolist() == [1, 0]


def test_a_networks_units_stand_for_no_frame() -> None:
    with pytest.raises(ConfigError, match="no codebook"):
        network().decode(torch.arange(3))


def test_the_contract(quantizer: Cosine | MLP) -> None:
    assert isinstance(quantizer, Quantizer)
    assert isinstance(quantizer, SoftQuantizer) == isinstance(quantizer, Cosine)
    assert (quantizer.size, quantizer.dim) == (7, 6)
    ids = quantizer.encode(frames())
    assert ids.dtype == torch.int64 and len(ids.unique()) > 3
    assert torch.equal(torch.stack([quantizer.encode(frame) for frame in frames()]), ids)
    assert torch.equal(quantizer.encode(frames().view(4, 50, 6)), ids.view(4, 50))
    assert quantizer.encode(frames()[:0]).shape == (0,)


def test_it_comes_back_from_its_tensors(quantizer: Cosine | MLP) -> None:
    again = type(quantizer).from_tensors(quantizer.tensors())
    assert torch.equal(again.encode(frames()), quantizer.encode(frames()))


def test_what_is_none_is_refused(quantizer: Cosine | MLP) -> None:
    tensors = quantizer.tensors()
    name = next(iter(tensors))
    for broken in (
        {}, tensors | {"more": torch.zeros(2)}, {k: v for k, v in tensors.items() if k != name},
        tensors | {name: torch.zeros(3, 4, 5)}, tensors | {name: tensors[name] * float("nan")},
    ):  # fmt: skip
        with pytest.raises(CheckpointError):
            type(quantizer).from_tensors(broken)
    for bad in (torch.zeros(3, 5), torch.full((1, 6), float("nan"))):
        with pytest.raises(DataError):
            quantizer.encode(bad)
