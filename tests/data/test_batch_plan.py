"""Batches are a function of lengths, settings, seed and epoch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.data.batch_plan import Batching, plan_batches
from speechssl.errors import ConfigError, DataError


@given(
    st.lists(st.floats(0.0, 40.0), min_size=1, max_size=80),
    st.floats(1.0, 20.0),
    st.floats(1.0, 5.0),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_every_long_enough_utterance_is_in_one_batch_and_no_batch_is_too_large(
    lengths: list[float], crop_s: float, times: float, most: int, seed: int
) -> None:
    seconds = np.array(lengths)
    settings = Batching(seconds=crop_s * times, crop_s=crop_s, max_utterances=most)
    if not (seconds >= settings.min_s).any():
        with pytest.raises(DataError):
            plan_batches(seconds, settings, seed=seed, epoch=0)
        return
    batches = plan_batches(seconds, settings, seed=seed, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == np.flatnonzero(seconds >= settings.min_s).tolist()
    for batch in batches:
        longest = np.minimum(seconds[batch], crop_s).max()
        assert 0 < len(batch) <= most and len(batch) * longest <= settings.seconds * (1 + 1e-9)


def test_neighbours_in_length_share_a_batch() -> None:
    seconds = np.random.default_rng(0).uniform(1, 15, 2000)
    batches = plan_batches(seconds, Batching(), seed=0, epoch=0)
    padded = sum(len(batch) * seconds[batch].max() for batch in batches)
    assert 1 - seconds.sum() / padded < 0.12


def test_what_utterances_bring_along_fills_batches_and_is_sorted_by() -> None:
    seconds, beside = np.full(12, 2.0), np.array([0.0, 6.0, 18.0, 0.0, 6.0, 18.0] * 2)
    settings = Batching(seconds=16.0, crop_s=16.0, bucket_noise=0.0)
    batches = plan_batches(seconds, settings, seed=0, epoch=0, beside=beside)
    assert sorted(sorted(set(beside[rows])) for rows in batches) == [[0.0]] + [[6.0]] * 2 + [[18.0]] * 4
    assert sorted(np.concatenate(batches).tolist()) == list(range(12))  # 2 + 18 s fit into no batch: alone, not lost
    alone = plan_batches(seconds, settings, seed=0, epoch=0)
    assert sorted(len(rows) for rows in alone) == [4, 8]


def test_what_utterances_bring_along_makes_none_long_enough() -> None:
    with pytest.raises(DataError, match="at least"):
        plan_batches(np.array([0.2]), Batching(), seed=0, epoch=0, beside=np.array([9.0]))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    seconds = np.random.default_rng(0).uniform(1, 15, 300)

    def plan(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in plan_batches(seconds, Batching(), seed=seed, epoch=epoch)]

    assert plan(1, 2) == plan(1, 2)
    assert plan(1, 2) != plan(1, 3) and plan(1, 2) != plan(2, 2)


def test_balanced_groups_are_drawn_as_the_formula_says() -> None:
    groups = np.repeat([0, 1], [900, 100])
    seconds = np.full(1000, 2.0)
    for balance in (0.0, 0.5):
        settings = replace(Batching(), balance=balance)
        counts = np.zeros(2)
        for epoch in range(20):
            rows = np.concatenate(plan_batches(seconds, settings, seed=0, epoch=epoch, groups=groups))
            assert len(rows) == 1000
            counts += np.bincount(groups[rows], minlength=2)
        expected = np.array([0.9, 0.1]) ** balance
        assert counts / counts.sum() == pytest.approx(expected / expected.sum(), abs=0.01)


def test_each_utterance_of_a_group_is_drawn_as_often_as_any_other() -> None:
    groups = np.repeat([0, 1], [90, 10])
    rows = np.concatenate(plan_batches(np.full(100, 2.0), Batching(balance=0.0), seed=0, epoch=0, groups=groups))
    for group in (0, 1):
        counts = np.bincount(rows, minlength=100)[groups == group]
        assert counts.max() - counts.min() <= 1


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(ConfigError):
        Batching(seconds=5, crop_s=10)
    with pytest.raises(ConfigError):
        Batching(balance=2.0)
