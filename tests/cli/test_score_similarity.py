"""`speechssl score similarity`: stored features against their rotation, noise, another order, missing utterances."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.cli import main
from speechssl.cli._scores.similarity import Common, Sample


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


def test_utterances_come_in_any_order_from_any_number_of_streams() -> None:
    names = [f"u{i}" for i in range(9)]
    left = [(name, torch.tensor([[1.0]])) for name in names]
    right = [(name, torch.tensor([[2.0]])) for name in reversed([*names, "alone"])]
    common = Common()
    found = {name: [float(x) for x in frames] for name, frames in common.of([left, right])}
    assert found == {name: [1.0, 2.0] for name in names} and (common.count, common.alone) == (9, 1)
    middle = [(name, torch.tensor([[3.0]])) for name in names[4:] + names[:3]]
    found = {name: [float(x) for x in frames] for name, frames in common.of([left, middle, right])}
    assert found == {name: [1.0, 3.0, 2.0] for name in names[:3] + names[4:]} and common.alone == 2


def test_neurons_over_several_models(
    frames: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """y holds all of x's channels in another order, z only two of them: both are at 1 in y, two of four in z."""
    random = np.random.default_rng(3)
    own = {"x": frames, "y": {name: -f[:, [2, 0, 1, 3]] for name, f in frames.items()},
           "z": {name: np.c_[f[:, :2], random.normal(size=len(f))] for name, f in frames.items()}}  # fmt: skip
    paths = [store(tmp_path / name, model) for name, model in own.items()]
    found = scored(capsys, *paths, "--neurons", str(tmp_path / "new" / "neurons.json"))
    x, y, z = found["models"]
    assert [(one["model"], one["channels"]) for one in (x, y, z)] == list(zip(paths, (4, 4, 3), strict=True))
    assert x["max_corr"] == pytest.approx(1, abs=1e-6) and y["max_corr"] == pytest.approx(1, abs=1e-6)
    assert z["max_corr"] == pytest.approx(2 / 3, abs=0.05) and z["min_corr"] == pytest.approx(z["max_corr"], abs=1e-6)
    assert x["min_corr"] == pytest.approx(0.5, abs=0.05)
    assert x["mean_corr"] == pytest.approx((x["max_corr"] + x["min_corr"]) / 2)
    every = json.loads((tmp_path / "new" / "neurons.json").read_text())
    assert every[paths[0]]["min"][:2] == pytest.approx([1, 1], abs=1e-6) and max(every[paths[0]]["min"][2:]) < 0.2
    by_two = scored(capsys, paths[0], paths[2], "--neighbours", "0")
    [pair] = [pair for pair in found["pairs"] if (pair["x"], pair["y"]) == (paths[0], paths[2])]
    assert {name: by_two[name] for name in ("cka", "svcca", "pwcca")} == pytest.approx(
        {name: pair[name] for name in ("cka", "svcca", "pwcca")}
    )
    assert len(found["pairs"]) == 3 and by_two["neurons"] == pytest.approx(x["min_corr"])
    capsys.readouterr()
    assert main(["score", "similarity", *paths, "--rate", "50"]) == 0
    assert "MaxCorr MinCorr" in capsys.readouterr().out


def test_several_models_say_what_they_lack(
    frames: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = store(tmp_path / "x", frames)
    y = store(tmp_path / "y", {name: 2 * f for name, f in frames.items() if name != "u2"})
    z = store(tmp_path / "z", {name: f[::2] for name, f in frames.items()})
    assert scored(capsys, x, y, store(tmp_path / "w", frames), code=1)["not_in_all"] == 1
    for others, message in (((y, x), "is given twice"), ((y, z), "'u0:0' has 300 frames")):
        assert main(["score", "similarity", x, *others, "--rate", "50"]) == 2
        assert message in capsys.readouterr().err
    assert main(["score", "similarity", x, y, "--rate", "50", "--neurons", "n"]) == 2


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
