"""Boundaries of units and phones: by hand, against an exhaustive matching, at the edges."""

import json
import math
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.cli import main
from speechssl.errors import DataError
from speechssl.metrics.alignments import read_alignments
from speechssl.metrics.boundaries import BoundaryCounts, matches, r_value, unit_boundaries


def test_the_example_by_hand() -> None:
    """Units change at 0.04, 0.10 and 0.12 s; phones at 0.05, 0.125 and 0.16 s: two of three, twice."""
    units = np.array([7, 7, 3, 3, 3, 7, 1, 1, 1, 1])
    np.testing.assert_allclose(unit_boundaries(units, 50), [0.04, 0.10, 0.12])
    counts = BoundaryCounts(unit_rate=50, tolerance_s=0.02)
    counts.add(units, np.array([0.0, 0.05, 0.125, 0.16, 0.2, 0.3]))  # of these, three lie within the units
    found = counts.scores()
    assert (found.found, found.reference, found.hits) == (3, 3, 2)
    assert found.precision == found.recall == found.f1 == pytest.approx(2 / 3) and found.over_segmentation == 0
    assert found.found_per_s == pytest.approx(15)


def test_r_value_is_the_papers() -> None:
    """R = 1 at the ideal; a hit rate of 80 % without over-segmentation: 1 - (0.2 + 0.2 / sqrt 2) / 2."""
    assert r_value(1, 0) == 1
    assert r_value(0.8, 0) == pytest.approx(1 - (0.2 + 0.2 / math.sqrt(2)) / 2)
    assert r_value(1, 1) == pytest.approx(1 - (1 + 1 / math.sqrt(2)) / 2)  # twice as many boundaries as there are
    assert r_value(1, 1) < r_value(0.8, 0)


def slow_matches(found: list[int], reference: list[int], tolerance: int) -> int:
    """Every assignment of the shorter list to members of the longer one."""
    short, long = sorted((found, reference), key=len)
    return max(
        sum(abs(a - b) <= tolerance for a, b in zip(short, chosen, strict=True))
        for chosen in permutations(long, len(short))
    )


TIMES = st.lists(st.integers(0, 12), max_size=5, unique=True).map(sorted)


@given(TIMES, TIMES, st.integers(0, 3))
def test_as_many_are_matched_as_can_be(found: list[int], reference: list[int], tolerance: int) -> None:
    fast = matches(np.array(found, float), np.array(reference, float), tolerance)
    assert fast == slow_matches(found, reference, tolerance)


def test_what_is_undefined_is_nan_and_nothing_is_divided_by_zero() -> None:
    counts = BoundaryCounts(unit_rate=50)
    assert math.isnan(counts.scores().precision) and math.isnan(counts.scores().found_per_s)
    counts.add(np.zeros(0, np.int64), np.zeros(0))
    counts.add(np.array([4]), np.array([0.0, 0.02]))
    counts.add(np.array([4, 4, 4, 4]), np.array([0.04]))
    found = counts.scores()
    assert math.isnan(found.precision) and found.recall == found.f1 == 0 and found.over_segmentation == -1
    for rate, tolerance in ((0, 0.02), (50, -1), (50, math.nan)):
        with pytest.raises(DataError):
            BoundaryCounts(unit_rate=rate, tolerance_s=tolerance)


def test_alignments_tell_where_labels_begin_and_end(tmp_path: Path) -> None:
    """The end of one and the start of the next are one boundary, a gap has two."""
    (tmp_path / "a.tsv").write_text("u\t0.0\t0.1\ta\nu\t0.1001\t0.2\ta\nu\t0.25\t0.3\tb\n")
    np.testing.assert_allclose(read_alignments(tmp_path / "a.tsv").boundaries("u"), [0, 0.1, 0.2, 0.25, 0.3])
    (tmp_path / "b.txt").write_text("u a a b b b SIL\n")
    np.testing.assert_allclose(read_alignments(tmp_path / "b.txt", rate_hz=50).boundaries("u"), [0, 0.04, 0.1, 0.12])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "units.txt").write_text("u 7 7 3 3 3 7 1 1 1 1\nalone 1 2\n")
    (tmp_path / "phones.tsv").write_text("u\t0\t0.06\ta\nu\t0.06\t0.13\tb\nu\t0.13\t0.2\tc\nmissing\t0\t1\ta\n")
    command = ["score", "boundaries", str(tmp_path / "units.txt"), "--phones", str(tmp_path / "phones.tsv"),
               "--num-units", "10", "--unit-rate", "50"]  # fmt: skip
    out = tmp_path / "scores.json"
    assert main([*command, "--json", "-o", str(out)]) == 1
    row = json.loads(capsys.readouterr().out)
    assert row == json.loads(out.read_text())
    assert (row["found"], row["reference"], row["hits"]) == (3, 2, 2) and row["recall"] == 1
    assert row["without_alignment"] == row["without_units"] == 1
    assert main([*command, "--allow-missing", "--tolerance", "0", "--phone-shift=-0.02"]) == 0  # the end stays an end
    text = capsys.readouterr().out
    assert "R-value" in text and "3 found, 2 there, 1 match within 0 s, in 1 utterances" in text


def test_rates_that_cannot_be_right_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "units.txt").write_text("u 7 7 3 3 3 7 1 1 1 1\n")
    (tmp_path / "phones.tsv").write_text("u\t0\t0.06\ta\nu\t0.06\t0.2\tb\n")
    command = ["score", "boundaries", str(tmp_path / "units.txt"), "--phones", str(tmp_path / "phones.tsv")]
    assert main([*command, "--num-units", "10", "--unit-rate", "25"]) == 2
    assert "a stated rate is wrong" in capsys.readouterr().err
    (tmp_path / "phones.tsv").write_text("v\t0\t0.06\ta\n")
    assert main([*command, "--num-units", "10", "--unit-rate", "50"]) == 2
    assert "nothing to score" in capsys.readouterr().err
