"""Durations of units and phones, by hand and against numpy."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.errors import DataError
from speechssl.metrics.alignments import read_alignments
from speechssl.metrics.durations import QUANTILES, RunLengths, describe, one_frame_share, phone_durations


def test_runs_by_hand() -> None:
    """0 0 1 | 2 and 2 2 2 0: at 50 Hz runs of 40, 20, 20 and 60, 20 ms; a run ends with its utterance."""
    runs = RunLengths(4, unit_rate=50.0)
    runs.add(np.array([0, 0, 1, 2]))
    runs.add(np.array([2, 2, 2, 0]))
    runs.add(np.array([], np.int64))
    lengths, counts = runs.histogram()
    assert (lengths.tolist(), counts.tolist()) == ([1, 2, 3], [3, 1, 1])
    assert one_frame_share(lengths, counts) == 0.6
    found = runs.describe(lengths, counts)
    assert (found.count, found.mean_ms, found.median_ms, found.longest_ms) == (5, 32.0, 20.0, 60.0)
    assert found.deviation_ms == pytest.approx(math.sqrt((3 * 12**2 + 8**2 + 28**2) / 5))
    assert (found.p5_ms, found.p25_ms, found.p75_ms, found.p95_ms) == (20.0, 20.0, 40.0, 60.0)
    by_unit = {unit: tuple(map(list, histogram)) for unit, histogram in runs.units().items()}
    assert by_unit == {0: ([1, 2], [1, 1]), 1: ([1], [1]), 2: ([1, 3], [1, 1])}
    assert [column.tolist() for column in runs.histogram(2)] == [[1, 3], [1, 1]]
    assert runs.histogram(3)[0].size == 0 and runs.utterances == 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), max_size=30), max_size=5))
def test_runs_equal_those_of_groupby(rows: list[list[int]]) -> None:
    from itertools import groupby

    runs = RunLengths(3, unit_rate=100.0)
    for row in rows:
        runs.add(np.array(row, np.int64))
    wanted = sorted((unit, len(list(group))) for row in rows for unit, group in groupby(row))
    found = [(unit, int(length)) for unit, (lengths, counts) in runs.units().items()
             for length, count in zip(lengths, counts, strict=True) for _ in range(count)]  # fmt: skip
    assert found == wanted


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=50))
def test_the_distribution_equals_numpys(values: list[int]) -> None:
    kinds, counts = np.unique(np.array(values, np.float64), return_counts=True)
    found = describe(kinds, counts)
    assert (found.count, found.longest_ms) == (len(values), max(values))
    assert found.mean_ms == pytest.approx(np.mean(values)) and found.deviation_ms == pytest.approx(np.std(values))
    quantiles = [found.p5_ms, found.p25_ms, found.median_ms, found.p75_ms, found.p95_ms]
    assert quantiles == np.quantile(values, QUANTILES, method="inverted_cdf").tolist()


def test_nothing_is_undefined() -> None:
    runs = RunLengths(4, unit_rate=50.0)
    found = runs.describe(*runs.histogram())
    assert found.count == 0 and math.isnan(found.mean_ms) and math.isnan(one_frame_share(*runs.histogram()))
    assert runs.units() == {}


def test_what_is_no_unit_is_refused() -> None:
    runs = RunLengths(4, unit_rate=50.0)
    for units in ([4], [-1, 2]):
        with pytest.raises(DataError, match=r"must lie in 0\.\.3"):
            runs.add(np.array(units))
    for size, rate in ((0, 50.0), (4, 0.0)):
        with pytest.raises(DataError, match="need units and their rate"):
            RunLengths(size, unit_rate=rate)


def test_phones_by_hand(tmp_path: Path) -> None:
    timed, frames = tmp_path / "phones.tsv", tmp_path / "phones.txt"
    timed.write_text("u\t0.0\t0.1\ta\nu\t0.1\t0.15\tb\nu\t0.15\t0.15\tc\nu\t0.2\t0.5\ta\nv\t0.0\t9.0\ta\n")
    found = phone_durations(read_alignments(timed), ["u"])
    assert {label: sorted(values.round(6).tolist()) for label, values in found.items()} == {
        "a": [100.0, 300.0], "b": [50.0], "c": [0.0]}  # fmt: skip
    frames.write_text("u a a b a\n")
    found = phone_durations(read_alignments(frames, rate_hz=50.0), ["u"])
    assert {label: sorted(values.tolist()) for label, values in found.items()} == {"a": [20.0, 40.0], "b": [20.0]}
