"""What every quantizer owes its callers, checked over all of them."""

import pytest
import torch
from torch import Tensor

from speechssl.errors import DataError
from speechssl.quantizers import Quantizer
from speechssl.quantizers.fsq_fit import fit_fsq
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.product import Product
from speechssl.quantizers.residual import Residual


def books(*shapes: tuple[int, int], scale: float = 1.0) -> list[KMeans]:
    """Codebooks of these shapes, each `scale` times as large as the one before."""
    generator = torch.Generator().manual_seed(1)
    return [KMeans(torch.randn(*shape, generator=generator) * scale**g) for g, shape in enumerate(shapes)]


def grid() -> Quantizer:
    return fit_fsq(lambda: [("a", torch.randn(300, 24, generator=torch.Generator().manual_seed(4)))], levels=(10, 5))[0]


MAKERS = {  # of 50 units and 24 channels
    "fsq": grid,
    "kmeans": lambda: books((50, 24))[0],
    "product": lambda: Product(books((5, 14), (10, 10))),
    # coarse to fine, so that the sum of two entries is nearest to the first of them
    "residual": lambda: Residual(books((10, 24), (5, 24), scale=0.1)),
}


@pytest.fixture(params=sorted(MAKERS))
def quantizer(request: pytest.FixtureRequest) -> Quantizer:
    return MAKERS[request.param]()


@pytest.fixture
def frames() -> Tensor:
    return torch.randn(700, 24, generator=torch.Generator().manual_seed(2))


def test_it_is_a_quantizer(quantizer: Quantizer) -> None:
    assert isinstance(quantizer, Quantizer)
    assert (quantizer.size, quantizer.dim) == (50, 24)


def test_ids_are_int64_in_range_and_keep_the_leading_shape(quantizer: Quantizer, frames: Tensor) -> None:
    ids = quantizer.encode(frames.view(7, 100, 24))
    assert ids.dtype == torch.int64 and ids.shape == (7, 100)
    assert int(ids.min()) >= 0 and int(ids.max()) < quantizer.size
    assert torch.equal(ids.flatten(), quantizer.encode(frames))


def test_no_frames_give_no_ids(quantizer: Quantizer) -> None:
    assert quantizer.encode(torch.zeros(0, 24)).shape == (0,)
    assert quantizer.encode(torch.zeros(2, 0, 24)).shape == (2, 0)


def test_a_codebook_entry_is_encoded_as_itself(quantizer: Quantizer) -> None:
    ids = torch.arange(quantizer.size)
    assert torch.equal(quantizer.encode(quantizer.decode(ids)), ids)


@pytest.mark.parametrize("batch", [1, 3, 64, 699])
def test_ids_do_not_depend_on_the_batch(quantizer: Quantizer, frames: Tensor, batch: int) -> None:
    parts = [quantizer.encode(frames[i : i + batch]) for i in range(0, len(frames), batch)]
    assert torch.equal(torch.cat(parts), quantizer.encode(frames))


def test_ids_do_not_depend_on_strides_or_order(quantizer: Quantizer, frames: Tensor) -> None:
    ids = quantizer.encode(frames)
    assert torch.equal(quantizer.encode(frames.T.contiguous().T), ids)
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(3))
    assert torch.equal(quantizer.encode(frames[order]), ids[order])


def test_tensors_round_trip(quantizer: Quantizer, frames: Tensor) -> None:
    copy = type(quantizer).from_tensors(quantizer.tensors())  # type: ignore[attr-defined]
    assert torch.equal(copy.encode(frames), quantizer.encode(frames))
    assert all(torch.equal(a, b) for a, b in zip(copy.tensors().values(), quantizer.tensors().values(), strict=True))


def test_frames_without_a_nearest_entry_are_refused(quantizer: Quantizer, frames: Tensor) -> None:
    for bad in (float("nan"), float("inf")):
        broken = frames.clone()
        broken[5, 3] = bad
        with pytest.raises(DataError, match="NaN or infinity"):
            quantizer.encode(broken)


def test_wrong_width_and_wrong_ids_are_refused(quantizer: Quantizer) -> None:
    with pytest.raises(DataError, match="24 channels"):
        quantizer.encode(torch.zeros(3, 23))
    for bad in ([-1], [50]):
        with pytest.raises(DataError, match=r"0\.\.49"):
            quantizer.decode(torch.tensor(bad))
