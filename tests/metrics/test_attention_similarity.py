"""Attention of two blocks: by hand, against slow forms, known answers."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from speechssl.metrics.attention_similarity import HeadSimilarity, correlations, overlaps


def maps(heads: int = 3, frames: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(frames, 0.5), size=(heads, frames))


def similarity(*pairs: tuple[np.ndarray, np.ndarray]) -> HeadSimilarity:
    found = HeadSimilarity()
    for x, y in pairs:
        found.add(x, y)
    return found


def test_both_measures_equal_numpy_and_scipy() -> None:
    x, y = maps(), maps(4, seed=1)
    x[0, 2] = np.eye(7)[3]  # weights of exactly 0
    expected = np.array([[np.corrcoef(a.ravel(), b.ravel())[0, 1] for b in y] for a in x])
    assert correlations(x, y) == pytest.approx(expected)
    divergence = [[np.mean([jensenshannon(p, q, 2) ** 2 for p, q in zip(a, b, strict=True)]) for b in y] for a in x]
    assert overlaps(x, y) == pytest.approx(1 - np.array(divergence))


def test_the_same_block_and_its_heads_in_another_order_give_1() -> None:
    x = maps()
    for y in (x, x[[2, 0, 1]]):
        found = similarity((x, y), (maps(seed=3), maps(seed=3)[[2, 0, 1]] if y is not x else maps(seed=3)))
        assert found.correlation() == pytest.approx(1) and found.overlap() == pytest.approx(1)


def test_by_hand() -> None:
    """A head that looks at itself against one that looks at the other frame, and one that looks at both alike."""
    own, other, both = np.eye(2), 1 - np.eye(2), np.full((2, 2), 0.5)
    found = similarity((own[None], other[None]))
    assert found.correlation() == pytest.approx(-1) and found.overlap() == pytest.approx(0)
    found = similarity((np.stack([own, both]), np.stack([other, both])))
    # own and both: mixture (3/4, 1/4), 0.8113 bits, less half the 0 bits of own and half the bit of both
    mixture = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert found.overlap() == pytest.approx((1 - (mixture - 0.5) + 1) / 2)
    assert found.correlation() == pytest.approx(-1)  # both never varies: only the first pair counts


def test_utterances_are_averaged_before_the_most_alike_head_is_chosen() -> None:
    one, two = maps(2, seed=4), maps(2, 5, seed=5)
    found = similarity((one, one), (two, two[::-1]))
    mean = (correlations(one, one) + correlations(two, two[::-1])) / 2
    assert (
        found.correlation() == pytest.approx(mean.max(1).mean()) and found.correlation() < 1 and found.utterances == 2
    )


def test_unrelated_weights_are_within_the_bound_of_chance() -> None:
    """T^2 weights: a chance correlation's deviation is about 1 / T, a third of that as the mean of 9 utterances; the
    largest of 4 heads stays below six of these thirds."""
    pairs = [(maps(4, 60, 10 + k), maps(4, 60, 90 + k)) for k in range(9)]
    assert abs(similarity(*pairs).correlation()) < 2 / 60


def test_what_cannot_be_compared_is_refused_or_undefined() -> None:
    empty = similarity((maps(2, 1), maps(2, 1)))
    assert math.isnan(empty.correlation()) and math.isnan(empty.overlap()) and empty.utterances == 0
    with pytest.raises(ValueError, match="as many frames"):
        similarity((maps(), maps(frames=8)))
    with pytest.raises(ValueError, match="heads before"):
        similarity((maps(), maps()), (maps(2), maps()))
    quick = HeadSimilarity(overlap=False)
    quick.add(maps(), maps())
    assert quick.correlation() == pytest.approx(1) and math.isnan(quick.overlap())
