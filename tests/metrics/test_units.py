"""PNMI, purities, perplexity and bitrate: hand-computed, against a slow oracle, and against published numbers."""

import gzip
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.errors import DataError
from speechssl.metrics import units as metrics
from speechssl.metrics.alignments import read_alignments
from speechssl.metrics.units import UNLABELLED, UnitCounts

GOLDEN = {  # published by facebookresearch/spidr for its units, to 6 digits
    "pnmi": 0.636159,
    "phone_purity": 0.672862,
    "cluster_purity": 0.144676,
    "perplexity": 233.9696,
    "bitrate": 210.511976,
}


@pytest.mark.corpus
def test_published_scores_of_spidr_units_are_reproduced_to_6_digits(shared: Path) -> None:
    golden = shared / "golden" / "spidr"
    alignments = read_alignments(golden / "phones.jsonl.gz")
    counts = UnitCounts(256, unit_rate=50)
    with gzip.open(golden / "units-kmeans.jsonl.gz", "rt") as file:
        for row in map(json.loads, file):
            counts.add(np.array(row["units"]), alignments.frames(row["name"], 100))
    scores = counts.scores()
    for name, value in GOLDEN.items():
        digits = 4 if name == "perplexity" else 6
        assert round(getattr(scores, name), digits) == value, name
    assert (scores.utterances, scores.num_phones, scores.active_codes) == (5567, 40, 256)
    assert scores.entropy_bitrate < scores.bitrate


def test_hand_computed_example() -> None:
    # phones a a a b | b b a b (10 ms), units 0 1 | 1 1 (20 ms): 0 sees aa, 1 sees ab bb ab
    counts = UnitCounts(4, unit_rate=50)
    counts.add(np.array([0, 1]), np.array([0, 0, 0, 1]))
    counts.add(np.array([1, 1]), np.array([1, 1, 0, 1]))
    assert counts.joint.tolist() == [[2, 2, 0, 0], [0, 4, 0, 0]]
    scores = counts.scores()
    # H(phone) = 1 bit; H(phone | unit 1) = H(1/3) over 6 of 8 frames
    conditional = 6 / 8 * -(1 / 3 * math.log2(1 / 3) + 2 / 3 * math.log2(2 / 3))
    assert scores.pnmi == pytest.approx(1 - conditional, abs=1e-12)
    assert scores.phone_purity == pytest.approx((2 + 4) / 8)
    assert scores.cluster_purity == pytest.approx((2 + 4) / 8)
    assert scores.perplexity == pytest.approx(2 ** -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)))
    assert scores.active_codes == 2
    # deduplicated: 0 1 | 1 = 3 units in 4 frames of 20 ms
    assert scores.unit_rate == pytest.approx(3 / 0.08)
    assert scores.bitrate == pytest.approx(2 * 3 / 0.08)
    assert scores.entropy_bitrate == pytest.approx((math.log2(3) - 2 / 3) * 3 / 0.08)
    assert (scores.utterances, scores.seconds, scores.labelled_seconds) == (2, pytest.approx(0.08), pytest.approx(0.08))


def test_a_run_never_crosses_from_one_utterance_to_the_next() -> None:
    counts = UnitCounts(2, unit_rate=50)
    counts.add(np.array([1, 1]))
    counts.add(np.array([1]))
    assert counts.runs.tolist() == [0, 2]


def test_sequences_are_cut_at_the_shorter_end_and_unlabelled_frames_do_not_count() -> None:
    counts = UnitCounts(2, unit_rate=50)
    counts.add(np.array([0, 1, 1]), np.array([0, UNLABELLED, 1]))  # labels end in the middle of the second unit
    counts.add(np.array([0]), np.array([1, 1, 1, 1, 1]))  # units end first
    assert counts.joint.tolist() == [[1, 0], [2, 1]]


def test_merged_counts_equal_counts_of_everything() -> None:
    rng = np.random.default_rng(0)
    whole, parts = UnitCounts(7, unit_rate=25), [UnitCounts(7, unit_rate=25) for _ in range(3)]
    for i in range(9):
        units, phones = rng.integers(0, 7, 30), rng.integers(-1, 2 + i, 120)
        whole.add(units, phones)
        parts[i % 3].add(units, phones)
    for other in parts[1:]:
        parts[0].merge(other)
    assert parts[0].scores() == whole.scores()
    with pytest.raises(DataError, match="cannot be merged"):
        whole.merge(UnitCounts(8, unit_rate=25))


@pytest.mark.parametrize(
    ("unit_rate", "label_rate"), [(50, 99), (50, 25), (50, 0), (0, 100), (30, 100), (16000 / 321, 100)]
)
def test_rates_that_do_not_fit_are_an_error(unit_rate: float, label_rate: float) -> None:
    with pytest.raises(DataError, match="Hz do not fit"):
        UnitCounts(2, unit_rate=unit_rate, label_rate=label_rate)


@pytest.mark.parametrize("units", [[0, 2], [-1], [[0]], [0.5]])
def test_impossible_units_are_an_error(units: list) -> None:
    with pytest.raises(DataError, match="unit ids must"):
        UnitCounts(2, unit_rate=50).add(np.array(units), np.array([0, 0]))


def test_phone_ids_below_unlabelled_are_an_error() -> None:
    with pytest.raises(DataError, match="phone ids must"):
        UnitCounts(2, unit_rate=50).add(np.array([0]), np.array([0, -2]))


def test_nothing_one_frame_and_one_class() -> None:
    empty = UnitCounts(3, unit_rate=50).scores()
    assert all(map(math.isnan, [empty.pnmi, empty.phone_purity, empty.cluster_purity, empty.perplexity, empty.bitrate]))
    assert (empty.active_codes, empty.seconds, empty.utterances) == (0, 0, 0)
    silent = UnitCounts(3, unit_rate=50)
    silent.add(np.array([], np.int64), np.array([], np.int32))
    assert (silent.scores().utterances, silent.scores().seconds) == (1, 0)
    one = UnitCounts(1, unit_rate=50)
    one.add(np.array([0]), np.array([0]))
    scores = one.scores()
    assert math.isnan(scores.pnmi)  # a single phone has no entropy to explain
    assert (scores.phone_purity, scores.cluster_purity, scores.perplexity, scores.bitrate) == (1, 1, 1, 0)


def oracle(pairs: list[tuple[int, int]]) -> tuple[float, float, float]:
    """PNMI, phone purity and cluster purity from their definitions, one frame at a time."""
    n = len(pairs)
    joint, phones, units = Counter(pairs), Counter(p for p, _ in pairs), Counter(u for _, u in pairs)
    information = math.fsum(c / n * math.log(c / n / (phones[p] / n * units[u] / n)) for (p, u), c in joint.items())
    entropy = -math.fsum(c / n * math.log(c / n) for c in phones.values())
    guess_phone = {u: max(phones, key=lambda p, u=u: joint[p, u]) for u in units}
    guess_unit = {p: max(units, key=lambda u, p=p: joint[p, u]) for p in phones}
    return (
        information / entropy if entropy else math.nan,
        sum(guess_phone[u] == p for p, u in pairs) / n,
        sum(guess_unit[p] == u for p, u in pairs) / n,
    )


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 6)), max_size=30), min_size=1, max_size=4),
    st.integers(1, 3),
)
def test_counts_equal_the_slow_oracle(utterances: list[list[tuple[int, int]]], repeats: int) -> None:
    counts = UnitCounts(7, unit_rate=50, label_rate=50 * repeats)
    frames: list[tuple[int, int]] = []
    for utterance in utterances:
        units = np.array([u for _, u in utterance], np.int64)
        phones = np.array([p for p, _ in utterance for _ in range(repeats)], np.int64)
        counts.add(units, phones)
        frames += [(p, u) for p, u in utterance for _ in range(repeats) if p >= 0]
    scores = counts.scores()
    if not frames:
        assert math.isnan(scores.pnmi)
        return
    expected = oracle(frames)
    got = (scores.pnmi, scores.phone_purity, scores.cluster_purity)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    assert math.isnan(scores.pnmi) or -1e-12 <= scores.pnmi <= 1 + 1e-12
    assert 1 - 1e-12 <= scores.perplexity <= scores.active_codes + 1e-9
    assert scores.entropy_bitrate <= scores.bitrate + 1e-9


@given(st.permutations(range(5)), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1))
def test_renaming_units_changes_no_score(names: list[int], pairs: list[tuple[int, int]]) -> None:
    phones, units = (np.array(column) for column in zip(*pairs, strict=True))
    scores = []
    for ids in (units, np.array(names)[units]):
        counts = UnitCounts(5, unit_rate=100)
        counts.add(ids, phones)
        scores.append(list(vars(counts.scores()).values()))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-12)


def test_units_that_are_the_phones_explain_everything() -> None:
    phones = np.array([0, 0, 1, 2, 2, 2])
    counts = UnitCounts(3, unit_rate=100)
    counts.add(phones, phones)
    scores = counts.scores()
    assert (scores.pnmi, scores.phone_purity, scores.cluster_purity) == (pytest.approx(1), 1, 1)
    assert metrics.pnmi(np.outer([2, 3], [1, 4])) == pytest.approx(0, abs=1e-12)  # independent: nothing
