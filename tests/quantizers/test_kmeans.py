"""The k-means codebook: exactness of the fast search, against float64 and against exact rational arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechssl.errors import CheckpointError
from speechssl.quantizers.kmeans import KMeans


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def oracle(frames: Tensor, centroids: Tensor) -> Tensor:
    """Squared distances written out, float64, no expansion of the square; argmin takes the lower id."""
    rows = [(centroids.double() - row.double()).square().sum(1).argmin() for row in frames]
    return torch.stack(rows)


@pytest.mark.parametrize(("num_units", "dim", "offset"), [(2, 1, 0.0), (100, 39, 0.0), (500, 768, 0.0), (64, 20, 1e4)])
def test_encode_is_the_nearest_centroid(num_units: int, dim: int, offset: float) -> None:
    centroids, frames = randn(num_units, dim) + offset, randn(600, dim, seed=1) + offset
    assert torch.equal(KMeans(centroids).encode(frames), oracle(frames, centroids))


def test_near_ties_below_float32_resolution_are_decided_right() -> None:
    """Frames a hair from the plane between two centroids far from the origin: float32 scores alone get half wrong."""
    centroids = torch.tensor([[1000.0, 1.0], [1000.0, -1.0]])
    height = 1e-5 * randn(400)
    frames = torch.stack([torch.full((400,), 1000.0), height], 1)
    scores = centroids.square().sum(1) / 2 - frames @ centroids.T
    assert (scores.argmin(1) != (height < 0).long()).any()  # the trap is real
    assert torch.equal(KMeans(centroids).encode(frames), (height < 0).long())


def test_ties_go_to_the_lower_id() -> None:
    twice = randn(40, 16).repeat(2, 1)
    frames = randn(500, 16, seed=1)
    assert int(KMeans(twice).encode(frames).max()) < 40
    assert KMeans(torch.tensor([[1.0], [-1.0], [1.0]])).encode(torch.tensor([[0.0], [1.0], [-3.0]])).tolist() == [
        0,
        0,
        1,
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 12), st.sampled_from([1, 8, 1000]))
def test_small_integer_grids_agree_with_exact_arithmetic(seed: int, units: int, dim: int, spread: int) -> None:
    """On integer grids exact ties are common; Fractions know them."""
    generator = torch.Generator().manual_seed(seed)
    centroids = torch.randint(-spread, spread + 1, (units, dim), generator=generator)
    frames = torch.randint(-spread, spread + 1, (20, dim), generator=generator)
    for frame, found in zip(frames, KMeans(centroids.float()).encode(frames.float()).tolist(), strict=True):
        exact = [sum(Fraction(int(a) - int(b)) ** 2 for a, b in zip(frame, c, strict=True)) for c in centroids]
        assert found == exact.index(min(exact))


def test_threads_and_matmul_precision_do_not_change_ids() -> None:
    centroids, frames = randn(300, 128), randn(2000, 128, seed=1)
    expected = KMeans(centroids).encode(frames)
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(KMeans(centroids).encode(frames), expected)
        torch.set_float32_matmul_precision("medium")  # bfloat16 products where the processor has them
        assert torch.equal(KMeans(centroids).encode(frames), expected)
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(KMeans(centroids).encode(frames), expected)


def test_half_precision_and_huge_frames_work() -> None:
    model = KMeans(randn(30, 8))
    frames = randn(100, 8, seed=1)
    assert torch.equal(model.encode(frames.bfloat16()), oracle(frames.bfloat16(), model.centroids))
    huge = frames * 1e38  # scores overflow float32
    assert torch.equal(model.encode(huge), (huge.double() @ model.centroids.double().T).argmax(1))
    fine = frames.double() + 1e-12
    assert torch.equal(model.encode(fine), oracle(fine, model.centroids))


def test_broken_codebooks_are_refused() -> None:
    for bad in (torch.zeros(3), torch.zeros(0, 4), torch.zeros(4, 0), torch.tensor([[float("nan")]])):
        with pytest.raises(CheckpointError):
            KMeans(bad)
    with pytest.raises(CheckpointError, match="infinity"):
        KMeans(torch.tensor([[1e300]], dtype=torch.float64))
    with pytest.raises(CheckpointError, match="exactly"):
        KMeans.from_tensors({"weight": torch.zeros(2, 2)})
