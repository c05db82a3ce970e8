"""CKA, SVCCA, PWCCA: definitions on whole matrices, invariances, known answers, pieces against the whole."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cross_decomposition import CCA

from speechssl.metrics.similarity import Moments, mutual_neighbours, over_models

Array = NDArray[np.float64]


def frames(count: int = 4000, channels: int = 6, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, channels)) @ random.normal(size=(channels, channels)) + 5 * random.normal(
        size=channels
    )


def moments(x: Array, y: Array) -> Moments:
    found = Moments()
    found.add(x, y)
    return found


def slow_cka(x: Array, y: Array) -> float:
    """By Gram matrices of all frames and HSIC, as in section 3 of arXiv:1905.00414."""
    centring = np.eye(len(x)) - 1 / len(x)
    k, m = (centring @ (side @ side.T) @ centring for side in (x, y))
    return float(np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m)))


def test_cka_equals_its_definition_by_gram_matrices() -> None:
    x = frames(80)
    y = np.tanh(x[:, :4]) + 0.3 * frames(80, 4, 1)
    assert moments(x, y).cka() == pytest.approx(slow_cka(x, y), rel=1e-9)


def test_canonical_correlations_equal_scikit_learn() -> None:
    x = frames(500, 3)
    y = x @ np.random.default_rng(1).normal(size=(3, 4)) + 2 * frames(500, 4, 2)
    fitted = CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit(x, y)
    a, b = fitted.transform(x, y)
    expected = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)]
    assert moments(x, y).svcca(1.0) == pytest.approx(np.mean(expected), rel=1e-5)
    centred = x - x.mean(0)
    a = a / np.linalg.norm(a, axis=0)
    weights = np.abs(a.T @ centred).sum(1)
    assert moments(x, y).pwcca() == pytest.approx((weights * expected).sum() / weights.sum(), rel=1e-5)


def test_the_same_layer_and_a_rotation_of_it_are_alike_and_noise_is_not() -> None:
    x = frames()
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))
    for y in (x, 3 * x @ rotation + 1):
        found = moments(x, y)
        assert [found.cka(), found.svcca(), found.pwcca()] == pytest.approx([1, 1, 1], abs=1e-9)
    noise = moments(x, frames(seed=9))
    assert noise.cka() < 0.01 and noise.svcca() < 0.05 and noise.pwcca() < 0.05


def test_an_invertible_map_changes_cka_but_no_canonical_correlation() -> None:
    x = frames()
    found = moments(x, x @ np.diag([1, 10, 100, 1, 1, 1.0]) @ np.random.default_rng(4).normal(size=(6, 6)))
    assert found.cka() < 0.95 and found.pwcca() == pytest.approx(1, abs=1e-6)


def test_by_hand() -> None:
    """One common channel of two: the covariance between them is [[1, 0], [0, 0]], both sides have unit covariance."""
    a, b, c = np.array([1.0, 1, -1, -1, 1, 1, -1, -1]), np.array([1.0, -1] * 4), np.array([1.0] * 4 + [-1] * 4)
    found = moments(np.stack([a, b], 1), np.stack([a, c], 1))
    assert found.cka() == pytest.approx(1 / 2) and found.svcca() == pytest.approx(1 / 2)
    assert found.pwcca() == pytest.approx(1 / 2)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(0, 5))
def test_pieces_add_up_to_the_whole(sizes: list[int], seed: int) -> None:
    x, y = frames(sum(sizes) + 3, 3, seed), frames(sum(sizes) + 3, 2, seed + 7) + 1e4
    found, start = Moments(), 0
    for size in [*sizes, 3]:
        found.add(x[start : start + size], y[start : start + size])
        start += size
    whole = moments(x, y)
    for ours, expected in zip(found.covariances(), whole.covariances(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


def test_what_cannot_be_compared_is_refused_and_what_does_not_vary_has_no_similarity() -> None:
    x = frames(10)
    with pytest.raises(ValueError, match="as many frames"):
        Moments().add(x, x[:5])
    with pytest.raises(ValueError, match="not finite"):
        Moments().add(x, np.full((10, 2), np.nan))
    with pytest.raises(ValueError, match="at least 2 frames"):
        moments(x[:1], x[:1]).cka()
    found = moments(x, x)
    with pytest.raises(ValueError, match="pieces before"):
        found.add(x, x[:, :2])
    still = moments(np.ones((10, 2)), x)
    assert np.isnan([still.cka(), still.svcca(), still.pwcca()]).all()


def test_mutual_neighbours_by_hand_and_at_the_ends() -> None:
    angles = np.deg2rad([0, 10, 40, 90])
    x = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert mutual_neighbours(x, 7 * x, 1) == 1.0
    y = x[[0, 2, 1, 3]]  # nearest in x: 1, 0, 1, 2; in y: 2, 2, 0, 1
    assert mutual_neighbours(x, y, 1) == 0.0
    assert mutual_neighbours(x, y, 3) == 1.0  # all others
    big, other = frames(400, 5), frames(400, 5, 8)
    assert mutual_neighbours(big, other, 10) == pytest.approx(10 / 399, abs=0.02)
    with pytest.raises(ValueError, match="k=4"):
        mutual_neighbours(x, y, 4)


def test_neurons_find_a_channel_whatever_its_place_scale_and_sign() -> None:
    x = frames()
    y = x[:, [3, 0, 5, 1, 2, 4]] * [1, -2, 3, -4, 5, 6] + 7
    found = moments(x, y)
    assert found.neurons() == pytest.approx(np.ones(6), abs=1e-9)
    assert moments(x, x).neurons() == pytest.approx(np.ones(6), abs=1e-9)
    assert found.predicted_neurons() == pytest.approx(np.ones(6), abs=1e-7)


def test_neurons_equal_their_definition() -> None:
    x = frames(300)
    y = np.tanh(x[:, :4]) + frames(300, 4, 1)
    found = moments(x, y)
    expected = [max(abs(np.corrcoef(a, b)[0, 1]) for b in y.T) for a in x.T]
    assert found.neurons() == pytest.approx(expected, rel=1e-9)
    design = np.column_stack([y, np.ones(len(y))])
    predicted = design @ np.linalg.lstsq(design, x, rcond=None)[0]
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, predicted.T, strict=True)]
    assert found.predicted_neurons() == pytest.approx(expected, rel=1e-7)
    swapped, direct = found.swapped(), moments(y, x)
    assert swapped.neurons() == pytest.approx(direct.neurons()) and swapped.pwcca() == pytest.approx(direct.pwcca())


def test_a_rotation_leaves_what_is_predicted_and_not_what_single_neurons_hold() -> None:
    x = np.random.default_rng(0).normal(size=(4000, 8))
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    found = moments(x, x @ rotation)
    assert found.predicted_neurons() == pytest.approx(np.ones(8), abs=1e-7)
    # with white channels the correlations are the rotation's entries, but for the sample's own correlations (below)
    assert found.neurons() == pytest.approx(np.abs(rotation).max(1), abs=0.1) and found.neurons().mean() < 0.9


def test_neurons_of_noise_are_within_the_bound_of_the_largest_of_many_chance_correlations() -> None:
    """A chance correlation exceeds t with probability 2 exp(-N t^2 / 2), any of C D with at most 1e-6 at this t."""
    count, channels = 20_000, 10
    random = np.random.default_rng(2)
    found = moments(*random.normal(size=(2, count, channels)))
    bound = np.sqrt(2 * np.log(2 * channels**2 / 1e-6) / count)
    assert 0 < found.neurons().max() < bound < 0.05
    # the squared multiple correlation is about chi^2(D) / N; P(chi^2(D) > 10 D) <= (10 e^-9)^(D / 2) = 3e-15 (Chernoff)
    assert 0 < found.predicted_neurons().max() < np.sqrt(10 * channels / (count - 1))


def test_neurons_by_hand_and_of_channels_that_do_not_vary() -> None:
    a, b, c = np.array([1.0, 1, -1, -1, 1, 1, -1, -1]), np.array([1.0, -1] * 4), np.array([1.0] * 4 + [-1] * 4)
    found = moments(np.stack([a, a + b, c, 0 * a], 1), np.stack([b, -a], 1))
    assert found.neurons()[:3] == pytest.approx([1, np.sqrt(1 / 2), 0]) and np.isnan(found.neurons()[3])
    assert found.predicted_neurons()[:3] == pytest.approx([1, 1, 0]) and np.isnan(found.predicted_neurons()[3])
    flat = found.swapped()
    assert flat.neurons() == pytest.approx([np.sqrt(1 / 2), 1])


def test_neurons_over_models_are_those_of_all_correlations_one_by_one() -> None:
    own, wide = frames(300, 4), frames(300, 3, 1)
    others = [own[:, [2, 0]] + frames(300, 2, 2), np.c_[wide, -own[:, 1]], np.tanh(own[:, :3]) + wide]
    joint, edges = moments(own, np.concatenate(others, axis=1)), np.cumsum([0, 4, 2, 4, 3])
    found = over_models([joint.between(slice(0, 4), slice(a, b)).neurons() for a, b in pairwise(edges[1:])])
    for channel in range(4):
        best = [max(abs(np.corrcoef(own[:, channel], other[:, j])[0, 1]) for j in range(other.shape[1]))
                for other in others]  # fmt: skip
        assert (found.max[channel], found.min[channel]) == pytest.approx((max(best), min(best)))
        assert found.mean[channel] == pytest.approx(sum(best) / 3)
    still = over_models([moments(np.c_[own, np.ones(300)], other).neurons() for other in others])
    assert np.isnan([still.max[4], still.min[4], still.mean[4]]).all() and np.isfinite(still.min[:4]).all()
    with pytest.raises(ValueError, match="no other model"):
        over_models([])


def test_moments_between_runs_of_channels_are_those_of_the_channels() -> None:
    x, y, z = frames(50, 3), frames(50, 2, 1), frames(50, 4, 2)
    joint = moments(x, np.concatenate([y, z], axis=1))
    for both, one, other in (((slice(0, 3), slice(5, 9)), x, z), ((slice(5, 9), slice(3, 5)), z, y)):
        for part, expected in zip(joint.between(*both).covariances(), moments(one, other).covariances(), strict=True):
            np.testing.assert_allclose(part, expected, atol=1e-12)
