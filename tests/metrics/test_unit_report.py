"""Scores of a corpus: who is counted, who is reported as missing, and that wrong rates are found out."""

import math
from pathlib import Path

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.metrics.alignments import Alignments, read_alignments
from speechssl.metrics.unit_report import score_corpus
from speechssl.metrics.units import UnitCounts


@pytest.fixture
def phones(tmp_path: Path) -> Alignments:
    (tmp_path / "a.txt").write_text("u a a b b\nv b b a a b b\nx a a\n")
    return read_alignments(tmp_path / "a.txt")


def test_only_utterances_with_both_are_scored_and_the_others_named(phones: Alignments) -> None:
    units = [("u", np.array([0, 1])), ("w", np.array([2, 2])), ("v", np.array([1, 0, 2]))]
    report = score_corpus(units, phones, num_units=3, unit_rate=50)
    assert (report.without_alignment, report.without_units) == (("w",), ("x",))
    expected = UnitCounts(3, unit_rate=50)
    expected.add(np.array([0, 1]), np.array([0, 0, 1, 1]))
    expected.add(np.array([1, 0, 2]), np.array([1, 1, 0, 0, 1, 1]))
    assert report.scores == expected.scores()
    assert (report.largest_difference_s, report.largest_difference_in) == (0, "u")


def test_without_alignments_every_utterance_counts() -> None:
    report = score_corpus([("u", np.array([0, 0, 1]))], None, num_units=4, unit_rate=50)
    assert report.scores.bitrate == pytest.approx(2 * 2 / 0.06)
    assert math.isnan(report.scores.pnmi) and report.scores.labelled_seconds == 0


def test_labels_of_another_rate_are_an_error_not_other_numbers(phones: Alignments, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a stated rate is wrong"):  # labels of 100 Hz, units of 25 Hz said to be 50
        score_corpus([("u", np.array([0])), ("v", np.array([1]))], phones, num_units=3, unit_rate=50)
    with pytest.raises(DataError, match="a stated rate is wrong"):
        score_corpus([("u", np.array([0] * 4))], phones, num_units=3, unit_rate=50)
    (tmp_path / "a.tsv").write_text("u\t0\t1.0\ta\n")
    timed = read_alignments(tmp_path / "a.tsv")
    with pytest.raises(DataError, match="a stated rate is wrong"):
        score_corpus([("u", np.zeros(25, int))], timed, num_units=3, unit_rate=50)
    assert score_corpus([("u", np.zeros(60, int))], timed, num_units=3, unit_rate=50).largest_difference_s == (
        pytest.approx(0.2)
    )


def test_an_utterance_given_twice_is_an_error(phones: Alignments) -> None:
    with pytest.raises(DataError, match="second time"):
        score_corpus([("u", np.array([0, 1]))] * 2, phones, num_units=3, unit_rate=50)
