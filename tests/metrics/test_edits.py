"""Unit edit distance: by hand, against the textbook's table, at the edges."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechssl.cli import main
from speechssl.metrics.edits import EditCounts, deduplicated, edit_distance
from tests.units.test_model import mfcc_model


def test_the_example_by_hand() -> None:
    """1 2 3 against 1 3 4: one left out, one put in, over 6 frames and 3 units; 5 against 5 5: nothing."""
    counts = EditCounts()
    counts.add(np.array([1, 1, 2, 2, 2, 3]), np.array([1, 3, 3, 4]))
    counts.add(np.array([5]), np.array([5, 5]))
    found = counts.scores()
    assert found.ued == pytest.approx((2 / 6 + 0) / 2) and found.unit_error_rate == pytest.approx(2 / 4)
    assert (found.edits, found.units, found.utterances) == (2, 4, 2)


def slow_distance(one: list[int], other: list[int]) -> int:
    table = [[i + j if i * j == 0 else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1,
                              table[i - 1][j - 1] + (one[i - 1] != other[j - 1]))  # fmt: skip
    return table[-1][-1]


UNITS = st.lists(st.integers(0, 4), max_size=12)


@given(UNITS, UNITS)
def test_distance_and_deduplication_equal_slow_forms(one: list[int], other: list[int]) -> None:
    assert edit_distance(np.array(one, np.int64), np.array(other, np.int64)) == slow_distance(one, other)
    slow = [u for i, u in enumerate(one) if i == 0 or one[i - 1] != u]
    assert deduplicated(np.array(one, np.uint16)).tolist() == slow


def test_recordings_without_frames_do_not_count() -> None:
    counts = EditCounts()
    counts.add(np.zeros(0, np.int64), np.array([1, 2]))
    assert math.isnan(counts.scores().ued) and counts.scores().utterances == 0
    counts.add(np.array([1, 2]), np.zeros(0, np.int64))
    assert counts.scores().ued == counts.scores().unit_error_rate == 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, changed = tmp_path / "clean.txt", tmp_path / "changed.txt"
    clean.write_text("a 1 1 2 2 2 3\nb 5\nalone 1\n")
    changed.write_text("b 5 5\na 1 3 3 4\n")
    command = ["score", "edits", str(clean), str(changed), "--num-units", "9"]
    assert main([*command, "--json", "-o", str(tmp_path / "out.json")]) == 1
    row = json.loads(capsys.readouterr().out)
    assert row == json.loads((tmp_path / "out.json").read_text())
    assert row["ued"] == pytest.approx(1 / 6) and row["clean_only"] == 1 and row["examples_without"] == ["alone"]
    assert (row["low"], row["high"]) == (0.0, pytest.approx(2 / 3)), "draws hold one of a and b, or both"
    assert main([*command, "--level", "2"]) == 2 and "a level between 0 and 1" in capsys.readouterr().err
    assert main([*command, "--allow-missing"]) == 0
    assert "2 utterances, 2 edits of 4 units" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "reason"), [("c 1 2\n", "nothing to compare"), ("a 1\na 1\n", "second time")])
def test_what_cannot_be_compared_is_refused(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clean.txt").write_text("a 1 1 2\n")
    (tmp_path / "changed.txt").write_text(text)
    paths = [str(tmp_path / name) for name in ("clean.txt", "changed.txt")]
    assert main(["score", "edits", *paths, "--num-units", "9"]) == 2
    assert reason in capsys.readouterr().err


def test_outputs_of_one_model_are_compared_and_those_of_two_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    for name, level in (("clean", 0.0), ("noisy", 0.1)):
        (tmp_path / name).mkdir()
        tone = 0.1 * np.sin(np.arange(16_000) * (0.05 + np.arange(16_000) / 80_000))
        soundfile.write(tmp_path / name / "a.wav", tone + level * random.standard_normal(16_000), 16_000)
    for seed in (0, 1):
        mfcc_model(seed=seed).save(tmp_path / f"model{seed}")
    for out, speech, seed in (("one", "clean", 0), ("two", "noisy", 0), ("other", "noisy", 1)):
        words = ["units", str(tmp_path / speech), "-o", str(tmp_path / out), "--model", str(tmp_path / f"model{seed}")]
        assert main([*words, "--workers", "0", "--quiet"]) == 0
    capsys.readouterr()
    for pair, expected in ((("one", "one"), 0), (("one", "two"), 0), (("one", "other"), 2)):
        assert main(["score", "edits", *(str(tmp_path / name) for name in pair), "--json"]) == expected
        told = capsys.readouterr()
        if expected:
            assert "different models" in told.err
        else:
            assert (json.loads(told.out)["ued"] == 0) == (pair == ("one", "one"))
