"""Several codebooks that speak together: against loops and faiss, learned ones against k-means, the command."""

import json
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from speechssl.cli import main
from speechssl.errors import CheckpointError, ConfigError, DataError
from speechssl.quantizers.joint_fit import fit_joint
from speechssl.quantizers.kmeans import KMeans
from speechssl.quantizers.kmeans_fit import fit
from speechssl.quantizers.product import Product
from speechssl.quantizers.residual import Residual
from speechssl.units.model import UnitModel


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def speech(frames: int = 3000, dim: int = 12) -> Tensor:
    """Clusters within clusters."""
    coarse, fine = randn(6, dim, seed=1) * 3, randn(5, dim, seed=2)
    picked = torch.randint(30, (frames,), generator=torch.Generator().manual_seed(3))
    return coarse[picked // 5] + fine[picked % 5] + 0.1 * randn(frames, dim, seed=4)


def blocks(rows: Tensor) -> Iterator[tuple[str, Tensor]]:
    for number, block in enumerate(rows.split(200)):
        yield f"u{number}", block


def test_product_units_are_those_of_a_loop_over_groups() -> None:
    quantizer = Product([KMeans(randn(4, 5)), KMeans(randn(3, 2, seed=1))])
    frames = randn(50, 7, seed=2)
    for frame, unit in zip(frames, quantizer.encode(frames).tolist(), strict=True):
        first, second = (int((book.centroids - part).square().sum(1).argmin())
                         for book, part in zip(quantizer.codebooks, (frame[:5], frame[5:]), strict=True))  # fmt: skip
        assert unit == 3 * first + second
        assert quantizer.codes(torch.tensor(unit)).tolist() == [first, second]


def test_residual_units_are_those_of_a_loop_over_codebooks_and_of_faiss() -> None:
    quantizer = Residual([KMeans(randn(8, 6)), KMeans(randn(8, 6, seed=1) / 2), KMeans(randn(8, 6, seed=2) / 4)])
    frames = randn(200, 6, seed=3)
    units = quantizer.encode(frames)
    for frame, codes in zip(frames, quantizer.codes(units).tolist(), strict=True):
        left = frame
        for book, code in zip(quantizer.codebooks, codes, strict=True):
            assert code == int((book.centroids - left).square().sum(1).argmin())
            left = left - book.centroids[code]
    theirs = faiss.ResidualQuantizer(6, 3, 3)
    theirs.max_beam_size = 1
    faiss.copy_array_to_vector(torch.cat([b.centroids for b in quantizer.codebooks]).numpy().ravel(), theirs.codebooks)
    theirs.is_trained = True
    theirs.set_derived_values()
    packed = theirs.compute_codes(frames.numpy())  # 3 bits each
    bits = np.unpackbits(packed, axis=1, bitorder="little")[:, :9].reshape(-1, 3, 3)
    expected = (bits * [1, 2, 4]).sum(2)
    assert np.mean(expected == quantizer.codes(units).numpy()) > 0.995  # faiss rounds: a tie may fall elsewhere


@pytest.mark.parametrize("make", [Product, Residual])
def test_units_and_codes_are_two_ways_to_say_the_same(make: type) -> None:
    quantizer = make([KMeans(randn(4, 3)), KMeans(randn(5, 3, seed=1)), KMeans(randn(2, 3, seed=2))])
    ids = torch.arange(40)
    codes = quantizer.codes(ids)
    assert torch.equal(quantizer.units(codes), ids) and codes.max(0).values.tolist() == [3, 4, 1]
    assert quantizer.codes(ids.view(8, 5)).shape == (8, 5, 3)
    with pytest.raises(DataError, match=r"0\.\.39"):
        quantizer.codes(torch.tensor([40]))


def test_learned_residuals_explain_more_with_every_codebook_and_more_than_one_of_their_size() -> None:
    rows = speech()
    quantizer, report = fit_joint("residual", lambda: blocks(rows), num_codebooks=2, num_units=6, seed=0)
    assert quantizer.size == 36 and report.inertias[0] > 2 * report.inertias[1]
    assert report.inertia == pytest.approx(report.inertias[-1], rel=1e-4)
    error = float((rows - quantizer.decode(quantizer.encode(rows))).square().sum(1).mean())
    assert report.inertia == pytest.approx(error, rel=1e-4)
    _, one = fit(rows, num_units=6)
    assert one.inertia == pytest.approx(report.inertias[0], rel=0.1) and report.inertia < one.inertia / 2


def test_learned_products_are_k_means_of_their_channels() -> None:
    rows = speech()
    quantizer, report = fit_joint("product", lambda: blocks(rows), num_codebooks=3, num_units=7, seed=5)
    assert [book.dim for book in quantizer.codebooks] == [4, 4, 4] and report.num_units == 7**3
    for g, book in enumerate(quantizer.codebooks):
        part = rows[:, 4 * g : 4 * g + 4]
        error = float((part - book.decode(book.encode(part))).square().sum(1).mean())
        assert report.codebooks[g].inertia == pytest.approx(error, rel=1e-4)
    assert report.inertia == pytest.approx(sum(r.inertia for r in report.codebooks), rel=1e-4)
    shuffled = list(blocks(rows))[::-1]
    again, _ = fit_joint("product", lambda: iter(shuffled), num_codebooks=3, num_units=7, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(again.tensors().values(), quantizer.tensors().values(), strict=True))


def test_what_makes_no_sense_is_refused() -> None:
    rows = speech(60)
    for settings in ({"num_codebooks": 0}, {"num_codebooks": 13}, {"num_units": 0}):
        with pytest.raises(ConfigError):
            fit_joint("product", lambda: blocks(rows), **{"num_codebooks": 2, "num_units": 4, **settings})
    with pytest.raises(ConfigError, match="kind"):
        fit_joint("other", lambda: blocks(rows), num_codebooks=2, num_units=4)  # type: ignore[arg-type]
    with pytest.raises(DataError):
        fit_joint("residual", lambda: iter([]), num_codebooks=2, num_units=4)
    with pytest.raises(CheckpointError, match="more than"):
        Product([KMeans(randn(300, 1))] * 3)
    with pytest.raises(CheckpointError, match="channels"):
        Residual([KMeans(randn(3, 2)), KMeans(randn(3, 4))])
    for tensors in ({}, {"centroids.1": randn(3, 2)}, {"centroids": randn(3, 2)}):
        with pytest.raises(CheckpointError):
            Product.from_tensors(tensors)


@pytest.mark.parametrize("kind", ["product", "residual"])
def test_the_command_writes_a_unit_model_that_gives_units(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(tmp_path / "in" / f"{number}.wav", 0.1 * random.standard_normal(16_000), 16_000)
    words = ["kmeans", str(tmp_path / "in"), "--encoder", "mfcc", "-k", "4", "--workers", "0", "--quiet"]
    assert main([*words, "-o", str(tmp_path / "model"), "--quantizer", kind, "--codebooks", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["num_units"] == 16 and len(report["codebooks"]) == 2
    model = UnitModel.load(tmp_path / "model")
    assert model.size == 16 and model.describe("none").quantizer.kind == kind
    units = model(tmp_path / "in" / "0.wav")
    assert units.size == 16 and len(set(units.ids.tolist())) > 4
    assert main([*words, "-o", str(tmp_path / "other"), "--quantizer", kind]) == 0
    assert f"{kind} of 4 x 4" in capsys.readouterr().out
    for more in (["--quantizer", kind, "--full"], ["--codebooks", "2"]):
        assert main([*words, "-o", str(tmp_path / "third"), *more]) == 2
