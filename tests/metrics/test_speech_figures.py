"""Figures of speech as quotients of sums, by hand, and differences of two systems."""

import pytest

from speechssl.metrics.bootstrap import bootstrap
from speechssl.metrics.speech_figures import differences, quotients

ONE = {"mcd_db": 4.0, "frames": 30, "real_s": 2.0, "made_s": 3.0, "similarity": 0.5, "errors_made": 2, "characters": 10}
TWO = {"mcd_db": 8.0, "frames": 10, "real_s": 1.0, "made_s": 0.5, "similarity": 0.9, "errors_made": 0, "characters": 2}


def test_frames_and_characters_count_alike_and_utterances_for_the_rest() -> None:
    found = {name: figure.value() for name, figure in quotients([ONE, TWO]).items()}
    assert found == pytest.approx({
        "mcd_db": (4 * 30 + 8 * 10) / 40, "duration_error": (0.5 + 0.5) / 2, "duration_ratio": 3.5 / 3,
        "similarity": 0.7, "cer_made": 2 / 12,
    })  # fmt: skip


def test_f0_is_over_frames_and_rmse_a_root() -> None:
    first = {"f0_pairs": 10, "f0_both_voiced": 4, "f0_voicing_error": 0.2, "f0_gross_error": 0.5, "f0_rmse_cents": 30.0}
    other = {"f0_pairs": 5, "f0_both_voiced": 0, "f0_voicing_error": 1.0, "f0_gross_error": 0.0, "f0_rmse_cents": 0.0}
    found = quotients([first, other, {**first, "f0_rmse_cents": 50.0}])
    assert {name: figure.value() for name, figure in found.items()} == pytest.approx({
        "f0_voicing_error": 9 / 25, "f0_gross_error": 0.5, "f0_rmse_cents": ((900 + 2500) / 2) ** 0.5})  # fmt: skip
    interval = bootstrap(found["f0_rmse_cents"], num_draws=500)
    assert (interval.low, interval.high) == pytest.approx((30, 50))


def test_what_one_utterance_lacks_is_no_figure() -> None:
    without = {name: value for name, value in TWO.items() if name != "similarity"}
    assert "similarity" not in quotients([ONE, without]) and "mcd_db" in quotients([ONE, without])


def test_differences_are_of_utterances_and_figures_that_both_have() -> None:
    better = {name: value for name, value in ONE.items() if name != "errors_made"} | {"mcd_db": 3.0, "frames": 20}
    found = differences({"a": better, "c": TWO}, {"a": ONE, "b": TWO})
    assert set(found) == {"mcd_db", "duration_error", "duration_ratio", "similarity"}
    assert found["mcd_db"].difference == pytest.approx(-1) and found["mcd_db"].share_below == 1
    assert (found["mcd_db"].interval.low, found["mcd_db"].interval.high) == pytest.approx((-1, -1))
    assert found["similarity"].difference == 0 and found["similarity"].share_below == 0.5
    assert differences({"a": ONE}, {"b": ONE}) == {}
