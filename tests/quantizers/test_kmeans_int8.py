"""The short lists of 8-bit products: the bound holds, and what is left is decided as float64 decides."""

import pytest
import torch
from torch import Tensor

from speechssl.errors import DataError
from speechssl.quantizers import kmeans_int8
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_fit import fit

pytestmark = pytest.mark.skipif(not kmeans_int8.available(), reason="this processor has no products of bytes")


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def oracle(frames: Tensor, centroids: Tensor) -> Tensor:
    """Squared distances written out, float64; argmin takes the lower id."""
    return torch.stack([(centroids.double() - row.double()).square().sum(1).argmin() for row in frames])


def spread(scale: float) -> Tensor:
    """Channels of very unequal size, as encoders have them."""
    return torch.logspace(0, scale, 96)


CASES = {
    "random": (randn(100, 96), randn(300, 96, seed=1)),
    "unequal channels": (randn(100, 96) * spread(3), randn(300, 96, seed=1) * spread(3)),
    "far from the origin": (randn(100, 96) + 1e4, randn(300, 96, seed=1) + 1e4),
    "one giant": (torch.cat([randn(99, 96), torch.full((1, 96), 100.0)]), randn(300, 96, seed=1)),
    "frames far outside": (randn(100, 96), 1e5 * randn(300, 96, seed=1)),
    "frames on centroids": (randn(100, 96), randn(100, 96).repeat(3, 1)),
    "frames between two": (randn(100, 96), (randn(100, 96)[:50] + randn(100, 96)[50:]) / 2 + 1e-6 * randn(50, 96)),
    "every centroid twice": (randn(50, 96).repeat(2, 1), randn(300, 96, seed=1)),
    "all centroids alike": (torch.ones(100, 96), randn(300, 96, seed=1)),
    "zeros": (randn(100, 96), torch.zeros(10, 96)),
    "tiny": (1e-30 * randn(100, 96), 1e-30 * randn(300, 96, seed=1)),
    "denormal": (1e-42 * randn(100, 96), 1e-41 * randn(300, 96, seed=1)),
    "huge": (randn(100, 96), 5e37 * randn(300, 96, seed=1)),
    "a hair apart": (randn(1, 96) + 1e-6 * randn(100, 96, seed=2), randn(1, 96) + 1e-6 * randn(300, 96, seed=1)),
}


@pytest.mark.parametrize("name", CASES)
def test_ids_are_those_of_float64(name: str) -> None:
    centroids, frames = CASES[name]
    assert KMeans(centroids).by_bytes
    if name in {"tiny", "denormal"}:  # squares underflow float32, not float64
        expected = KMeans(centroids).encode(frames.double())
    else:
        expected = oracle(frames, centroids) if name != "huge" else (frames.double() @ centroids.double().T).argmax(1)
    assert torch.equal(KMeans(centroids).encode(frames), expected)


@pytest.mark.parametrize("name", [name for name in CASES if name not in {"huge", "denormal"}])
def test_scores_are_within_the_bound(name: str) -> None:
    """The bound is what makes the lists safe: check it on its own, and that it is not far too wide."""
    centroids, frames = CASES[name]
    model = KMeans(centroids)
    centre = centroids.mean(0)
    book, codes = model.codebook(centre), kmeans_int8.encode(frames, centre)
    moved, wide = frames.double() - centre.double(), centroids.double() - centre.double()
    levels = codes.values.double() - 128
    assert bool(((moved - levels * codes.step.double()).norm(dim=1) <= codes.error.double().squeeze(1)).all())
    assert bool(((levels * codes.step.double()).norm(dim=1) <= codes.length.double().squeeze(1)).all())
    bias = wide.square().sum(1) / 2
    exact = bias - bias.mean() - moved @ wide.T
    cheap = torch.addcmul(book.bias, kmeans_int8._products(codes.values, book), codes.step, value=-1).double()
    bound = (codes.error * book.per_error + codes.length * book.per_length + book.least).double()
    assert bool(((cheap - exact).abs() <= bound).all())
    if name == "random":
        assert float(bound.mean()) < 0.02 * float(moved.norm(dim=1).mean() * wide.norm(dim=1).max())


def test_blocks_and_both_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    centroids, frames = randn(300, 128), randn(5000, 128, seed=1)
    model = KMeans(centroids)
    ids = model.encode(frames)
    assert torch.equal(torch.cat([model.encode(part) for part in frames.split(37)]), ids)
    centre = randn(128, seed=5)  # any centre will do
    coded = model.encode_coded(frames, kmeans_int8.encode(frames, centre), model.codebook(centre))
    assert torch.equal(coded, ids)
    monkeypatch.setattr(kmeans_int8, "worthwhile", lambda *size: False)
    assert torch.equal(KMeans(centroids).encode(frames), ids)


def test_a_frame_with_nan_or_infinity_is_refused_wherever_it_stands() -> None:
    model = KMeans(randn(100, 96))
    for bad in (float("nan"), float("inf"), -float("inf")):
        frames = randn(200, 96, seed=1)
        frames[0] = 0
        frames[150, 3] = bad
        with pytest.raises(DataError, match="NaN or infinity"):
            model.encode(frames)


def test_products_that_are_wrong_or_missing_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without VNNI adds pairs of products in 16 bits, which saturate: then another way must be taken."""
    original = kmeans_int8._products
    monkeypatch.setattr(kmeans_int8, "_products", lambda values, book: original(values, book).clamp(-32768, 32767))
    assert not kmeans_int8.available.__wrapped__()

    def missing(*operands: object) -> Tensor:
        raise AttributeError("'_OpNamespace' 'onednn' object has no attribute 'qlinear_pointwise'")

    monkeypatch.setattr(kmeans_int8, "_products", missing)
    assert not kmeans_int8.available.__wrapped__()


def test_a_fit_gives_the_same_bits_with_and_without_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds, iterations on a first part, sums and assignments: none may tell on what kind of processor it ran."""
    frames = (randn(90, 64)[torch.arange(4000) % 90] + 0.7 * randn(4000, 64, seed=1)).numpy()
    settings = {"num_units": 80, "seed": 5, "iterations": 8, "init_frames": 900, "start_frames": 1000}
    model, report = fit(frames, **settings)
    full, _ = fit(frames, mode="full", max_frames=500, **settings)
    monkeypatch.setattr(kmeans_int8, "available", lambda: False)
    plain, plainly = fit(frames, **settings)
    assert torch.equal(plain.centroids, model.centroids) and plainly.runs == report.runs
    assert torch.equal(fit(frames, mode="full", max_frames=500, **settings)[0].centroids, full.centroids)
