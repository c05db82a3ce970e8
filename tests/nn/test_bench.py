"""The bench of encoders, tried with tiny models: its ways through a corpus give every utterance its own features."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from speechssl.nn.fast import linear

BENCH = Path(__file__).parents[2] / "tools" / "bench" / "encoder.py"


@pytest.mark.skipif(not linear.available(), reason="this torch or CPU has no packed linears")
def test_every_contestant_of_the_encoder_bench_gives_the_features_it_should() -> None:
    command = [sys.executable, str(BENCH), "--tiny", "--batches", "--rounds", "1", "--utterances", "3", "--batch", "2",
               "--median-s", "1.5", "--parts"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    errors = {
        found[1].strip(): float(found[2])
        for found in re.finditer(r"^(.{22}).* (\d\.\de[+-]\d\d) +[\d.]+%$", done.stdout, re.MULTILINE)
    }
    exact = {"transformers", "stops", "plain", "fast", "plain, 2 sorted", "plain, 240 s"}
    assert set(errors) == {*exact, "2 in file order", "2 sorted"}, done.stdout
    assert all(errors[name] <= 1e-5 for name in exact), errors
    assert errors["2 in file order"] > 1e-2, "padding without a mask changes features: the bench no longer shows it"
    assert "largest difference 0.0" in done.stdout
