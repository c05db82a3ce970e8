"""The phone probe against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from speechssl.errors import DataError
from speechssl.metrics.probe import fit_probe, majority


def clouds(num: int = 900, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three overlapping clouds in six channels of very different scales, one of which never changes."""
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=num)
    centres = np.random.default_rng(5).normal(size=(3, 6))
    frames = (centres[labels] + 0.9 * random.normal(size=(num, 6))) * np.array([1, 100, 0.01, 5, 1, 0]) + 7
    return torch.from_numpy(frames).float(), torch.from_numpy(labels)


def test_it_is_the_logistic_regression_of_scikit_learn() -> None:
    frames, labels = clouds()
    l2 = 1e-3
    ours = fit_probe(frames, labels, l2=l2)
    scaler = StandardScaler().fit(frames)
    theirs = LogisticRegression(C=1 / (l2 * len(frames)), tol=1e-8, max_iter=1000).fit(scaler.transform(frames), labels)
    weight, bias = ours.weight - ours.weight.mean(0), ours.bias - ours.bias.mean()  # what a softmax does not see
    np.testing.assert_allclose(weight, theirs.coef_ - theirs.coef_.mean(0), atol=2e-3)
    np.testing.assert_allclose(bias, theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)
    test_frames, test_labels = clouds(seed=1)
    assert ours.accuracy(test_frames, test_labels) == pytest.approx(
        theirs.score(scaler.transform(test_frames), test_labels), abs=0.004
    )


def test_it_finds_what_is_linear_and_nothing_in_noise() -> None:
    labels = torch.arange(600) % 4
    assert fit_probe(torch.eye(4)[labels], labels).accuracy(torch.eye(4), torch.arange(4)) == 1.0
    noise = torch.randn(600, 5, generator=torch.Generator().manual_seed(0))
    tested = torch.randn(4000, 5, generator=torch.Generator().manual_seed(1))
    assert fit_probe(noise, labels).accuracy(tested, torch.arange(4000) % 4) == pytest.approx(0.25, abs=0.03)


def test_labels_without_a_frame_are_never_said() -> None:
    frames, labels = clouds()
    assert int(fit_probe(frames, labels, num_labels=5).predict(frames).max()) <= 2


def test_the_floor_is_the_most_frequent_label() -> None:
    assert majority(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 1, 1])) == 0.75


@pytest.mark.parametrize(
    ("frames", "labels"),
    [(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)), (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)),
     (torch.zeros(3, 2), torch.tensor([0, 1])), (torch.zeros(2, 2), torch.tensor([-1, 1]))],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(frames: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(DataError):
        fit_probe(frames, labels)
