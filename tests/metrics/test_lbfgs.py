"""L-BFGS against closed forms and scipy."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimize
from torch import Tensor

from speechssl.metrics.lbfgs import minimize


def quadratic(matrix: Tensor, target: Tensor):  # type: ignore[no-untyped-def]
    def function(x: Tensor) -> tuple[float, Tensor]:
        gradient = matrix @ (x - target)
        return float((x - target) @ gradient) / 2, gradient

    return function


def test_a_quadratic_ends_at_its_known_minimum() -> None:
    scales = torch.logspace(-1, 1, 12, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    target = torch.arange(12.0).double()
    found = minimize(quadratic(turn @ torch.diag(scales) @ turn.T, target), torch.zeros(12).double(), iterations=200,
                     largest_gradient=1e-9, least_change=0)  # fmt: skip
    torch.testing.assert_close(found, target, atol=1e-5, rtol=0)


def test_logistic_regression_is_scipys() -> None:
    random = np.random.default_rng(0)
    x, y = torch.from_numpy(random.normal(size=(200, 5)) * [1, 3, 0.3, 1, 1]), torch.arange(200) % 2 * 2.0 - 1

    def function(w: Tensor) -> tuple[float, Tensor]:
        margin = y * (x @ w)
        value = torch.nn.functional.softplus(-margin).mean() + 0.01 * w @ w
        return float(value), -(x.T @ (y * torch.sigmoid(-margin))) / 200 + 0.02 * w

    theirs = scipy_minimize(lambda w: tuple(np.asarray(part) for part in function(torch.from_numpy(w))), np.ones(5),
                            jac=True, method="BFGS", options={"gtol": 1e-10})  # fmt: skip
    calls = []
    found = minimize(lambda w: (calls.append(1), function(w))[1], torch.ones(5).double(), iterations=100,
                     largest_gradient=1e-9, least_change=0)  # fmt: skip
    np.testing.assert_allclose(found, theirs.x, atol=1e-7)
    assert len(calls) < 40  # few steps were tried twice


def test_it_stops_where_it_is_told_to() -> None:
    seen: list[Tensor] = []

    def function(x: Tensor) -> tuple[float, Tensor]:
        seen.append(x)
        return float((x**4).sum()), 4 * x**3

    start = torch.tensor([2.0, -1.0], dtype=torch.float64)
    assert torch.equal(minimize(function, torch.zeros(2).double(), iterations=5), torch.zeros(2)) and len(seen) == 1
    values = [function(minimize(function, start, iterations=n, least_change=0))[0] for n in (0, 1, 2, 20, 200)]
    assert values == sorted(values, reverse=True) and values[0] == 17 and 0 < values[-1] < 1e-6
    assert function(minimize(function, start, iterations=200, least_change=0.5))[0] > values[-1]


def test_a_function_that_no_step_lowers_is_left_where_it_is() -> None:
    start = torch.ones(3)
    wrong = minimize(lambda x: (float(x.sum()), -torch.ones(3)), start, iterations=9)  # the gradient's sign is wrong
    assert torch.equal(wrong, start)


@pytest.mark.parametrize("length", [1, 3])
def test_steps_too_long_are_shortened(length: int) -> None:
    """A step of the first, gentle slope would go far beyond the steep wall."""
    found = minimize(lambda x: (float(torch.cosh(5 * x).sum()), 5 * torch.sinh(5 * x)),
                     torch.full((length,), 1.5).double(), iterations=60)  # fmt: skip
    torch.testing.assert_close(found, torch.zeros(length).double(), atol=1e-3, rtol=0)
