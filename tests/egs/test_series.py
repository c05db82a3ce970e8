"""Quantizers take windows of any multichannel series, not speech alone."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "egs" / "series" / "tokens.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("egs_series_tokens", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tokens_of_a_synthetic_series_keep_its_states_and_most_of_its_variance(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = script.lorenz(8_000)
    np.save(tmp_path / "series.npy", series.numpy())
    tokens = script.main([str(tmp_path / "series.npy")])
    lines = capsys.readouterr().out.splitlines()
    lost = {line.split()[0]: float(line.split()[2]) for line in lines}
    used = {line.split()[0]: float(line.split()[7]) for line in lines}
    assert lost["k-means"] <= lost["ema"] * 1.05 and lost["ema"] < 0.06 and lost["fsq"] < 0.25
    assert used["k-means"] > 40 and used["ema"] > 40 and used["fsq"] > 20
    # The system has two wings; which one a window lies in shows in its mean's first principal component.
    means = script.windows(series).view(1000, 8, 6).mean(1)
    wing = (means @ torch.linalg.eigh(torch.cov(means.T)).eigenvectors[:, -1] > 0).long()
    for name, ids in tokens.items():
        assert ids.shape == (1000,) and ids.dtype == torch.int64
        counts = torch.bincount(2 * ids + wing, minlength=128).view(64, 2)
        assert int(counts.amax(1).sum()) > 900, f"{name}: a token says in which wing its window lies"


def test_windows_hold_every_channel_and_drop_what_fills_none(script: ModuleType) -> None:
    series = torch.arange(42, dtype=torch.float32).view(14, 3)
    frames = script.windows(series, 4)
    assert frames.shape == (3, 12)
    scale = series.std(0)
    assert torch.allclose(frames[1].view(4, 3), (series[4:8] - series.mean(0)) / scale)
