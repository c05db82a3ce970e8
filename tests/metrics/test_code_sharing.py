"""Codes shared by languages, by hand and against scipy."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.decomposition import PCA

from speechssl.errors import DataError
from speechssl.metrics.code_sharing import CodeUsage, jensen_shannon, principal_components


def test_by_hand() -> None:
    """a uses codes 0, 1 evenly, b 1, 2 evenly, c 3 alone: a and b share half, JSD = 1/2 bit; c shares nothing."""
    usage = CodeUsage((4,))
    usage.add("b", np.array([1, 2, 2, 1]))
    usage.add("a", np.array([0]))
    usage.add("a", np.array([1]))
    usage.add("c", np.array([3, 3, 3]))
    usage.add("silent", np.array([], np.int64))
    assert usage.languages == ["a", "b", "c"]
    assert usage.distributions().tolist() == [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]]
    assert usage.similarity() == pytest.approx(np.array([[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]))
    assert usage.spread().tolist() == [3, 1, 0]  # codes 0, 2, 3 have one language, code 1 has two


def test_codebooks_count_together() -> None:
    """The same use of each codebook by itself, and no pair in common."""
    usage = CodeUsage((2, 3))
    usage.add("a", np.array([[0, 0], [1, 2]]))
    usage.add("b", np.array([[0, 2], [1, 0]]))
    assert usage.distributions()[0].tolist() == [0.5, 0, 0, 0, 0, 0.5]
    assert usage.similarity()[0, 1] == 0


def test_divergence_equals_scipys() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        one, other = random.dirichlet(np.full(30, 0.2), 2)
        assert jensen_shannon(one, other) == pytest.approx(jensenshannon(one, other, base=2) ** 2, abs=1e-12)
    assert jensen_shannon(np.array([1.0, 0]), np.array([0.5, 0.5])) == pytest.approx(
        0.5 * math.log2(1 / 0.75) + 0.25 * math.log2(0.5 / 0.75) + 0.25 * math.log2(0.5 / 0.25)
    )


def test_components_equal_scikit_learns_up_to_sign() -> None:
    rows = np.random.default_rng(1).normal(size=(7, 7))
    found = principal_components(rows)
    assert np.abs(found) == pytest.approx(np.abs(PCA(2).fit_transform(rows)))
    assert (found[np.abs(found).argmax(0), [0, 1]] > 0).all()


def test_codes_that_do_not_exist_are_refused() -> None:
    for codes in (np.array([[0, 3]]), np.array([[-1, 0]]), np.array([0, 1])):
        with pytest.raises(DataError, match="code"):
            CodeUsage((2, 3)).add("a", codes)
    with pytest.raises(DataError, match="no language"):
        CodeUsage((3,)).similarity()
    with pytest.raises(DataError, match="components"):
        principal_components(np.eye(2), 3)
