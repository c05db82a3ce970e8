"""Flow matching: by hand, and against a flow that is known in closed form."""

import pytest
import torch
from torch import Tensor

from speechssl.errors import ConfigError
from speechssl.nn.flow_matching import flow_loss, on_path, solve

MEAN, DEVIATION = 3.0, 0.5  # of Gaussian data; the flow takes noise x to MEAN + DEVIATION x


def gaussian(x: Tensor, time: Tensor) -> Tensor:
    """E[data - noise | the point x at time t], for independent normal noise and Gaussian data: a linear regression."""
    t = time.view(-1, 1)
    variance = (1 - t) ** 2 + t**2 * DEVIATION**2
    return MEAN + (t * DEVIATION**2 - (1 - t)) / variance * (x - t * MEAN)


def errors(method: str, steps: int) -> float:
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64).unsqueeze(1)
    found = solve(gaussian, noise, steps=steps, method=method)
    return float((found - (MEAN + DEVIATION * noise)).abs().max())


def test_points_on_the_path_by_hand() -> None:
    noise, data = torch.tensor([[1.0, -1.0], [2.0, 0.0]]), torch.tensor([[3.0, 1.0], [4.0, 8.0]])
    assert on_path(noise, data, torch.tensor([0.0, 0.25])).tolist() == [[1.0, -1.0], [2.5, 2.0]]
    assert torch.equal(on_path(noise, data, torch.ones(2)), data)


def test_the_loss_by_hand_leaves_padding_out() -> None:
    noise = torch.tensor([[[1.0, 0.0], [5.0, 5.0]]])
    data = torch.tensor([[[2.0, 2.0], [9.0, 9.0]]])  # data - noise = 1, 2 in the first frame
    velocity = torch.tensor([[[0.0, 5.0], [float("nan"), 1.0]]])
    assert float(flow_loss(velocity, noise, data, torch.tensor([[True, False]]))) == (1 + 9) / 2


def test_the_flow_of_a_gaussian_is_reached_at_the_order_of_each_method_at_least() -> None:
    for method, order in (("euler", 1), ("midpoint", 2)):
        coarse, fine = errors(method, 40), errors(method, 80)
        assert fine < 0.02 and coarse / fine > 0.9 * 2**order  # on this flow the midpoint is of order 3 even
    assert errors("midpoint", 40) < errors("euler", 80)


def test_a_constant_velocity_is_exact_in_one_step() -> None:
    noise = torch.tensor([[1.0, 2.0]])
    for method in ("euler", "midpoint"):
        assert solve(lambda x, t: torch.full_like(x, 3.0), noise, steps=1, method=method).tolist() == [[4.0, 5.0]]


def test_the_velocity_that_the_loss_wants_is_the_conditional_mean() -> None:
    """Least squares over draws at one time find the line of `gaussian`."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(200_000, 1, dtype=torch.float64, generator=random)
    data = MEAN + DEVIATION * torch.randn(200_000, 1, dtype=torch.float64, generator=random)
    time = torch.full((200_000,), 0.7, dtype=torch.float64)
    x = on_path(noise, data, time)
    line = torch.linalg.lstsq(torch.cat([x, torch.ones_like(x)], 1), data - noise).solution[:, 0]
    points = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    torch.testing.assert_close(points * line[0] + line[1], gaussian(points, time[:2]), atol=0.02, rtol=0)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 2, "method": "heun"}])
def test_what_cannot_be_solved_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        solve(gaussian, torch.zeros(1, 1), **wrong)
