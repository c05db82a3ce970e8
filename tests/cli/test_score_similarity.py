"""`speechssl score similarity`: stored features against their rotation, noise, another order, missing utterances."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.cli import main
from speechssl.cli._scores.similarity import Pairs, Sample


def store(path: Path, frames: dict[str, np.ndarray]) -> str:
    """Features as a folder of .npy files."""
    path.mkdir()
    for name, x in frames.items():
        np.save(path / f"{name}.npy", x.astype(np.float32))
    return str(path)


@pytest.fixture
def frames() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {f"u{i}": random.normal(size=(300 + i, 4)) @ np.diag([1, 2, 3, 4.0]) for i in range(4)}


def scored(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict:
    capsys.readouterr()
    assert main(["score", "similarity", *arguments, "--rate", "50", "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_rotation_is_the_same_and_noise_is_not(
    frames: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    x = store(tmp_path / "x", frames)
    same = scored(capsys, x, store(tmp_path / "y", {name: f @ rotation for name, f in frames.items()}))
    assert [same[name] for name in ("cka", "svcca", "pwcca")] == pytest.approx([1, 1, 1], abs=1e-6)
    assert same["predicted_neurons"] == pytest.approx(1, abs=1e-6) and same["neurons"] < 0.95
    moved = scored(capsys, x, store(tmp_path / "w", {name: -2 * f[:, [3, 0, 2, 1, 0]] for name, f in frames.items()}),
                   "--neighbours", "0")  # fmt: skip
    assert moved["neurons"] == pytest.approx(1, abs=1e-6) and moved["neurons_of_y"] == pytest.approx(1, abs=1e-6)
    fewer = scored(capsys, x, store(tmp_path / "v", {name: f[:, :2] for name, f in frames.items()}), "--neighbours",
                   "0")  # fmt: skip
    assert fewer["neurons"] < 0.6 and fewer["neurons_of_y"] == pytest.approx(1, abs=1e-6)
    assert same["mutual_neighbours"] > 0.99 and same["utterances"] == 4 and same["frames"] == 1206
    random = np.random.default_rng(2)
    noise = scored(capsys, x, store(tmp_path / "z", {name: random.normal(size=f.shape) for name, f in frames.items()}))
    assert noise["cka"] < 0.02 and noise["svcca"] < 0.1 and noise["mutual_neighbours"] < 0.05


def test_an_utterance_that_one_side_lacks_is_reported(
    frames: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = store(tmp_path / "x", frames)
    y = store(tmp_path / "y", {name: f for name, f in frames.items() if name != "u2"} | {"other": frames["u0"]})
    assert scored(capsys, x, y, code=1)["only_in_one"] == 2
    assert scored(capsys, x, y, "--allow-missing")["utterances"] == 3


def test_other_numbers_of_frames_are_refused(
    frames: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = store(tmp_path / "x", frames)
    y = store(tmp_path / "y", {name: f[:100] for name, f in frames.items()})
    assert main(["score", "similarity", x, y, "--rate", "50"]) == 2
    assert "'u0:0' has 300 frames" in capsys.readouterr().err


def test_pairs_come_in_any_order_and_both_ways_round() -> None:
    names = [f"u{i}" for i in range(9)]
    left = [(name, torch.tensor([[1.0]])) for name in names]
    right = [(name, torch.tensor([[2.0]])) for name in reversed([*names, "alone"])]
    pairs = Pairs()
    found = {name: (float(x), float(y)) for name, x, y in pairs.of(left, right)}
    assert found == dict.fromkeys(names, (1.0, 2.0)) and (pairs.common, pairs.alone) == (9, 1)


def test_every_frame_is_as_likely_to_be_sampled() -> None:
    drawn = np.zeros(50)
    for seed in range(400):
        sample = Sample(5, seed)
        x = np.arange(50.0)[:, None]
        sample.add(x[:20], x[:20])
        sample.add(x[20:], x[20:])
        a, b = sample.frames()
        assert (a == b).all() and len(a) == 5
        drawn[a.astype(int).ravel()] += 1
    assert abs(drawn[:20].mean() / 40 - 1) < 0.15 and abs(drawn[20:].mean() / 40 - 1) < 0.15


def test_senseless_options_are_refused(
    frames: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = store(tmp_path / "x", frames)
    for option in (["--neighbours", "-1"], ["--sample", "0"]):
        assert main(["score", "similarity", x, x, "--rate", "50", *option]) == 2
        assert option[0] in capsys.readouterr().err
