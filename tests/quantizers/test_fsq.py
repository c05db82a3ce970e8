"""Finite scalar quantization: by hand, against loops in float64, its gradients, the fitted grid, the command."""

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechssl.cli import main
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.quantizers.fsq import FSQ, ProjectedFSQ, inverse_bound
from speechssl.quantizers.fsq_fit import fit_fsq
from speechssl.units.model import UnitModel

LEVELS = st.lists(st.integers(3, 9), min_size=1, max_size=4)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow(levels: list[int], z: list[float]) -> tuple[list[Fraction], int, list[float]]:
    """Codes, id and the slopes of the bound for one vector, scalar by scalar."""
    codes, unit, slopes, place = [], 0, [], 1
    for count, value in zip(levels, z, strict=True):
        half = (count - 1) * 0.999 / 2
        offset = 0.5 if count % 2 == 0 else 0.0
        shift = 0.5 * math.log((half + offset) / (half - offset))
        tanh = math.tanh(value + shift)
        step = round(tanh * half - offset)
        codes.append(Fraction(step, count // 2))
        unit += place * (step + count // 2)
        slopes.append(half * (1 - tanh**2) / (count // 2))
        place *= count
    return codes, unit, slopes


def test_three_and_four_levels_by_hand() -> None:
    """Of three levels -1, 0, 1 the edges are where 0.999 tanh(z) = 0.5: z = 0.54997; of four, -2 .. 1, zero is the
    third: 1.4985 tanh(z + 0.34695) - 0.5 passes 0.5 at 0.45897, -0.5 at -0.34695 and -1.5 at -1.15287."""
    odd, ids = FSQ([3])(torch.tensor([-9.0, -0.5501, -0.5499, 0.0, 0.5499, 0.5501, 9.0]).unsqueeze(1))
    assert odd.flatten().tolist() == [-1, -1, 0, 0, 0, 1, 1] and ids.tolist() == [0, 0, 1, 1, 1, 2, 2]
    edges = [-9, -1.1530, -1.1527, -0.3471, -0.3468, 0.0, 0.4588, 0.4591, 9]
    even, ids = FSQ([4])(torch.tensor(edges).unsqueeze(1))
    assert even.flatten().tolist() == [-1, -1, -0.5, -0.5, 0, 0, 0, 0.5, 0.5]
    assert ids.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3]


def test_the_first_scalar_is_the_lowest_digit() -> None:
    fsq = FSQ([8, 5, 5, 5])
    assert (fsq.size, fsq.dim) == (1000, 4)
    assert fsq.digits(torch.tensor([0, 1, 7, 8, 40, 200, 999])).tolist() == [
        [0, 0, 0, 0], [1, 0, 0, 0], [7, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [7, 4, 4, 4],
    ]  # fmt: skip
    assert fsq.decode(torch.tensor(7 + 8 * 4)).tolist() == [0.75, 1.0, -1.0, -1.0]


@settings(max_examples=60, deadline=None)
@given(LEVELS, st.integers(0, 40), st.integers(0, 2**31 - 1))
def test_codes_ids_and_gradients_are_those_of_loops(levels: list[int], n: int, seed: int) -> None:
    z = (2 * randn(n, len(levels), seed=seed).double()).requires_grad_()
    codes, ids = FSQ(levels)(z)
    weights = randn(n, len(levels), seed=seed + 1).double()
    (codes * weights).sum().backward()
    assert codes.shape == z.shape and ids.shape == (n,) and z.grad is not None
    for row in range(n):
        expected, unit, slopes = slow(levels, z[row].tolist())
        assert codes[row].tolist() == [float(code) for code in expected] and int(ids[row]) == unit
        assert z.grad[row].tolist() == pytest.approx(
            [s * w for s, w in zip(slopes, weights[row].tolist(), strict=True)]
        )


@settings(max_examples=30, deadline=None)
@given(LEVELS)
def test_ids_and_codes_are_two_ways_to_say_the_same_over_the_whole_codebook(levels: list[int]) -> None:
    fsq = FSQ(levels)
    ids = torch.arange(math.prod(levels))
    codes = fsq.decode(ids)
    assert len(torch.unique(codes, dim=0)) == len(ids)
    assert codes.min() == -1 and codes.max() <= 1
    # a z for every code: half-way to the outermost levels, for these lie where the bound hardly comes
    steps = (codes * torch.tensor([n // 2 for n in levels])).double()
    steps = torch.where(steps == steps.min(0).values, steps + 0.25, steps)
    steps = torch.where(steps == steps.max(0).values, steps - 0.25, steps)
    z = torch.stack([inverse_bound(steps[:, i], count) for i, count in enumerate(levels)], 1)
    again, found = fsq(z)
    assert torch.equal(found, ids) and torch.equal(again.float(), codes)


@pytest.mark.parametrize("count", [3, 4, 7, 8, 255, 256])
def test_every_level_is_reached_zero_stays_zero_and_what_is_larger_never_gets_a_lower_level(count: int) -> None:
    fsq = FSQ([count])
    z = torch.linspace(-8, 8, 200_001).unsqueeze(1)
    ids = fsq.encode(z)
    assert torch.equal(torch.unique(ids), torch.arange(count)) and bool((ids.diff() >= 0).all())
    assert float(fsq(torch.zeros(1, 1))[0]) == 0 and float(fsq.bound(torch.zeros(1, dtype=torch.float64)).abs()) < 1e-12
    steps = torch.linspace(-(count // 2) + 0.25, (count - 1) // 2 - 0.25, 50, dtype=torch.float64)
    assert torch.allclose(fsq.bound(inverse_bound(steps, count).unsqueeze(1))[:, 0], steps, atol=1e-9)


def test_a_bound_that_reaches_as_far_beyond_the_outermost_levels_gives_other_codes_at_the_edges_only() -> None:
    """vector_quantize_pytorch has 1.001 where the paper has 0.999."""
    z = 2 * randn(20_000, 3).double()
    counts = torch.tensor([8, 5, 7])
    half, offset = (counts - 1) * 1.001 / 2, (1 - counts % 2) / 2
    bounded = (z + (offset / half).atanh()).tanh() * half - offset
    theirs = bounded.round() / (counts // 2)
    ours, _ = FSQ([8, 5, 7])(z)
    to_edge = ((bounded - 0.5).round() + 0.5 - bounded).abs()
    assert torch.equal(ours[to_edge > 0.01], theirs[to_edge > 0.01]) and not torch.equal(ours, theirs)


def test_autocast_changes_no_code_and_the_dtype_of_the_input_comes_out() -> None:
    z = randn(500, 3).bfloat16()
    fsq = FSQ([7, 6, 5])
    plain, ids = fsq(z.float())
    with torch.autocast("cpu", torch.bfloat16):
        codes, found = fsq(z)
    assert torch.equal(found, ids) and codes.dtype == torch.bfloat16 and torch.equal(codes, plain.bfloat16())
    assert torch.equal(fsq.half().encode(z.float()), ids) and not fsq.state_dict()
    assert fsq(torch.zeros(2, 0, 3))[1].shape == (2, 0)


def test_levels_and_ids_that_cannot_be_are_refused() -> None:
    for levels in ([], [2], [5, 1], [257], [256] * 8):
        with pytest.raises(ConfigError):
            FSQ(levels)
    for bad in (-1, 60):
        with pytest.raises(DataError, match=r"0\.\.59"):
            FSQ([3, 4, 5]).decode(torch.tensor([bad]))


def frames(n: int = 4000) -> Tensor:
    """Four directions of 10 channels with variances 9, 4, 1 and 0.01, the first of them skewed."""
    basis = torch.linalg.qr(randn(10, 10, seed=1))[0][:4]
    scalars = randn(n, 4, seed=2) * torch.tensor([3.0, 2.0, 1.0, 0.1])
    scalars[:, 0] = 3 * (-torch.rand(n, generator=torch.Generator().manual_seed(3)).log() - 1)
    return scalars @ basis + 5


def blocks(rows: Tensor) -> Iterator[tuple[str, Tensor]]:
    for number, block in enumerate(rows.split(300)):
        yield f"u{number}", block


def test_a_fitted_grid_quantizes_the_largest_directions_and_uses_all_levels_almost_evenly() -> None:
    rows = frames()
    quantizer, report = fit_fsq(lambda: blocks(rows), levels=[8, 5, 4])
    assert (quantizer.size, quantizer.dim, report.frames_sampled) == (160, 10, 4000)
    assert report.explained == pytest.approx(14 / 14.01, abs=2e-3) and report.empty_units == 0
    shares = [used / count for used, count in zip(report.level_perplexities, (8, 5, 4), strict=True)]
    assert shares[0] > 0.87 and min(shares[1:]) > 0.99, "no symmetric bound fits skewed values better"
    digits = quantizer.codes(quantizer.encode(rows))
    for column, direction in enumerate(torch.linalg.eigh(torch.cov(rows.T))[1].flip(1).T[:3]):
        scalar = (rows - rows.mean(0)) @ direction
        order = scalar.argsort()
        steps = digits[order, column].diff()
        assert bool((steps >= 0).all()) or bool((steps <= 0).all()), "a digit does not follow its direction"
        for level in range(int(digits[:, column].max()) + 1):
            inside = digits[:, column] == level
            mean = ((quantizer.decode(quantizer.encode(rows[inside])) - rows.mean(0)) @ direction).mean()
            assert float(mean) == pytest.approx(float(scalar[inside].mean()), abs=1e-3)
    error = float((rows - quantizer.decode(quantizer.encode(rows))).square().sum(1).mean())
    assert report.inertia == pytest.approx(error, rel=1e-4) and report.inertia < 0.2 * float(rows.var(0).sum())


def test_a_fitted_grid_depends_on_seed_and_frames_alone() -> None:
    rows = frames(900)
    one, _ = fit_fsq(lambda: blocks(rows), levels=[5, 3], max_frames=500, seed=4)
    other, _ = fit_fsq(lambda: iter(list(blocks(rows))[::-1]), levels=[5, 3], max_frames=500, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.tensors().values(), other.tensors().values(), strict=True))


def test_a_unit_of_levels_that_nothing_chose_still_comes_back_as_itself() -> None:
    rows = randn(4, 3) * torch.tensor([3.0, 2.0, 1.0])
    quantizer, report = fit_fsq(lambda: iter([("a", rows)]), levels=[9, 8, 4])
    assert report.empty_units >= 9 + 8 + 4 - 3 * 4
    ids = torch.arange(quantizer.size)
    assert torch.equal(quantizer.encode(quantizer.decode(ids)), ids)


def test_what_cannot_be_fitted_or_read_is_refused() -> None:
    rows = frames(50)
    with pytest.raises(ConfigError, match="channels"):
        fit_fsq(lambda: blocks(rows), levels=[3] * 11)
    for few in (rows[:0], rows[:1], rows[:1].expand(20, 10), rows[:2]):
        with pytest.raises(DataError):
            fit_fsq(lambda few=few: iter([("a", few)]), levels=[3, 3])
    held = fit_fsq(lambda: blocks(rows), levels=[5, 4])[0].tensors()
    for change in (
        {"levels": torch.tensor([5, 2])}, {"levels": torch.tensor([5.0, 4.0])}, {"levels": torch.tensor([200] * 4)},
        {"mean": torch.zeros(9)}, {"mean": torch.tensor(0.0)}, {"values": torch.zeros(8)}, {"more": torch.zeros(1)},
        {"shift": torch.tensor([0.0, float("nan")])},
    ):  # fmt: skip
        with pytest.raises(CheckpointError):
            ProjectedFSQ.from_tensors(held | change)


def test_the_command_writes_a_unit_model_that_gives_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(tmp_path / "in" / f"{number}.wav", 0.1 * random.standard_normal(16_000), 16_000)
    words = ["kmeans", str(tmp_path / "in"), "--encoder", "mfcc", "--workers", "0", "--quiet", "--quantizer", "fsq"]
    assert main([*words, "-o", str(tmp_path / "model"), "--levels", "5,4,3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["num_units"] == 60 and report["levels"] == [5, 4, 3] and 0 < report["explained"] < 1
    model = UnitModel.load(tmp_path / "model")
    assert model.size == 60 and model.describe("none").quantizer.kind == "fsq"
    units = model(tmp_path / "in" / "0.wav")
    assert units.size == 60 and len(set(units.ids.tolist())) > 10
    assert main([*words, "-o", str(tmp_path / "other"), "--levels", "5,4"]) == 0
    assert "fsq of 5 x 4" in capsys.readouterr().out
    for more in ([], ["--levels", "5,x"], ["--levels", "5,2"], ["--levels", "5,4", "-k", "9"],
                 ["--levels", "5", "--codebooks", "2"], ["--levels", "5", "--full"]):  # fmt: skip
        assert main([*words, "-o", str(tmp_path / "third"), *more]) == 2
