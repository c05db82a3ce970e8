"""Infilling: values by hand, what must hold whatever is drawn, and the distribution of spans."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechssl.errors import ConfigError
from speechssl.nn.infilling import MASK, Infilling, infill, infilled


class Drawn:
    """Stands in for a generator: gives what it was told to."""

    def __init__(self, spans: list[int], places: list[int]) -> None:
        self.spans, self.places, self.asked = iter(spans), places, (0, 0)

    def poisson(self, mean: float) -> int:
        return next(self.spans)

    def choice(self, length: int, count: int, replace: bool) -> np.ndarray:
        assert not replace
        self.asked = (length, count)
        return np.array(self.places, dtype=np.int64)


@pytest.mark.parametrize(
    ("spans", "places", "expected"),
    [
        # ceil(0.4 * 10) = 4 of 0..9: 3 and 1 (2, cut); 6 stay, with 2 masks they are 8
        ([3, 2], [1, 4], [0, MASK, 4, 5, MASK, 7, 8, 9]),
        ([3, 2], [7, 0], [MASK, 3, 4, 5, 6, 7, 8, MASK]),
        ([3, 2], [3, 2], [0, 1, MASK, MASK, 6, 7, 8, 9]),  # spans that touch are two masks
        ([0, 9], [7, 0], [MASK, 0, 1, 2, 3, 4, 5, MASK]),  # nothing is missing at the first
        ([1, 0, 3], [0, 3, 8], [MASK, 1, 2, MASK, 3, 4, 5, 6, MASK]),  # nothing is missing at the second
    ],
)
def test_values_by_hand(spans: list[int], places: list[int], expected: list[int]) -> None:
    drawn = Drawn(spans, places)
    found = infill(np.arange(10), Infilling(share=0.4), drawn)  # type: ignore[arg-type]
    assert found.tolist() == expected
    assert drawn.asked == (10 - 4 + len(places), len(places))


@given(st.integers(0, 60), st.floats(0, 1), st.floats(0.5, 12), st.integers(0, 2**32))
def test_what_stays_is_in_order_and_as_much_as_it_must_be(length: int, share: float, span: float, seed: int) -> None:
    units = np.arange(length) % 7
    found = infill(units, Infilling(share, span), np.random.default_rng(seed))
    taken = math.ceil(share * length - 1e-9)
    assert (found != MASK).sum() == length - taken
    assert not taken or (found == MASK).any()
    rest = iter(units.tolist())
    assert all(unit in rest for unit in found[found != MASK].tolist()), "a subsequence"
    again = infill(units, Infilling(share, span), np.random.default_rng(seed))
    assert found.tolist() == again.tolist()
    if share == 0:
        assert found.tolist() == units.tolist()
    if share == 1:
        assert (found == MASK).all()


def test_spans_are_poisson_and_come_everywhere() -> None:
    """Of 400 units 140 go, in spans of 3.5 on average: 40 masks or so; all units as often, but near the ends."""
    random, masks, gone = np.random.default_rng(0), [], np.zeros(40)
    for _ in range(400):
        masks.append(int((infill(np.arange(400), Infilling(), random) == MASK).sum()))
        kept = infill(np.arange(40), Infilling(), random)
        gone += ~np.isin(np.arange(40), kept)
    assert np.mean(masks) == pytest.approx(140 / 3.5, rel=0.03)
    assert gone.mean() == pytest.approx(400 * 0.35) and (gone[4:-4] > 110).all() and (gone < 190).all()


def test_a_row_follows_from_its_own_seed_alone() -> None:
    units = torch.arange(24).view(2, 12)
    lengths, seeds = torch.tensor([12, 7]), torch.tensor([5, 6])
    together, counts = infilled(units, lengths, Infilling(), seeds)
    for row in range(2):
        alone, (count,) = infilled(units[row : row + 1, : lengths[row]], lengths[row : row + 1], Infilling(),
                                   seeds[row : row + 1])  # fmt: skip
        assert counts[row] == count and torch.equal(together[row, :count], alone[0])
        assert (together[row, count:] == MASK).all()
    other, _ = infilled(units, lengths, Infilling(), seeds + 1)
    assert other.tolist() != together.tolist()


@pytest.mark.parametrize("wrong", [{"share": 1.1}, {"share": -0.1}, {"span": 0.1}])
def test_what_is_no_share_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="infilling"):
        Infilling(**wrong)
