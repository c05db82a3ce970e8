"""The phone probe against scikit-learn and by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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


def test_few_steps_come_nearer_to_the_optimum_than_many_plain_ones() -> None:
    """torch's L-BFGS over standardised frames is the plain form; the channels here hold much of one another."""
    random = torch.Generator().manual_seed(0)
    labels = torch.multinomial(torch.tensor([0.5, 0.3, 0.1, 0.05, 0.05]), 2000, replacement=True, generator=random)
    own = torch.randn(5, 12, generator=random)[labels] + 1.5 * torch.randn(2000, 12, generator=random)
    frames = own @ torch.logspace(0, -1.5, 12).diag() @ torch.randn(12, 24, generator=random)
    frames += 0.02 * torch.randn(frames.shape, generator=random)
    x, l2 = ((frames - frames.mean(0)) / frames.std(0, correction=0)).double(), 1e-6

    def loss(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(F.linear(x, weight, bias), labels) + l2 / 2 * weight.square().sum()

    def plain(iterations: int) -> float:
        parameters = [torch.zeros(5, 24).double().requires_grad_(), torch.zeros(5).double().requires_grad_()]
        optimizer = torch.optim.LBFGS(parameters, max_iter=iterations, line_search_fn="strong_wolfe",
                                      tolerance_grad=1e-10, tolerance_change=0)  # fmt: skip

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = loss(*parameters)
            value.backward()
            return value

        optimizer.step(closure)
        return float(loss(*parameters).detach())

    found = [fit_probe(frames, labels, l2=l2, iterations=n) for n in (20, 100)]
    few, many = (float(loss(probe.weight.double(), probe.bias.double())) for probe in found)
    optimum = plain(2000)
    assert many == pytest.approx(optimum, abs=1e-4) and optimum < few < plain(100)


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
     (torch.zeros(3, 2), torch.tensor([0, 1])), (torch.zeros(2, 2), torch.tensor([-1, 1])),
     (torch.tensor([[0.0], [math.nan]]), torch.tensor([0, 1]))],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(frames: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(DataError):
        fit_probe(frames, labels)
