"""Diffusion: schedules and steps by hand, and the way back to Gaussian data, which is known in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from speechssl.errors import ConfigError
from speechssl.nn.diffusion import denoise, draw_level, levels, noise_loss, noise_of, noised, velocity, way_back

MEAN, DEVIATION = 1.0, 0.5


def gaussian(x: Tensor, level: Tensor) -> Tensor:
    """E[noise | the point x at level a] for Gaussian data."""
    a = level.view(-1, 1)
    return (1 - a**2).sqrt() / (a**2 * DEVIATION**2 + 1 - a**2) * (x - a * MEAN)


def test_levels_are_the_roots_of_the_product_of_one_minus_beta() -> None:
    found = levels(3, first=0.1, last=0.3)
    assert found.tolist() == pytest.approx([1, math.sqrt(0.9), math.sqrt(0.9 * 0.8), math.sqrt(0.9 * 0.8 * 0.7)])
    assert way_back(found, 3) == pytest.approx(found.flip(0).tolist())
    assert way_back(levels(), 4)[0] == float(levels()[-1]) and way_back(levels(), 4)[-1] == 1


@given(st.floats(0, 1, exclude_max=True))
def test_a_drawn_level_lies_between_those_of_its_step(uniform: float) -> None:
    schedule = levels(10)
    step = int(uniform * 10)
    found = float(draw_level(schedule, torch.tensor([uniform], dtype=torch.float64)))
    assert float(schedule[step + 1]) <= found <= float(schedule[step])


def test_noise_is_mixed_and_judged_by_hand() -> None:
    data, noise = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, -1.0]])
    assert noised(data, noise, torch.tensor([0.6]))[0].tolist() == pytest.approx([2.0, -0.8])
    predicted = torch.tensor([[[1.0, 3.0], [float("nan"), 0.0]]])
    assert float(noise_loss(predicted, torch.zeros(1, 2, 2), torch.tensor([[True, False]]))) == 5.0


def test_with_the_true_noise_one_step_gives_the_data_exactly() -> None:
    data, noise = torch.tensor([[2.0, -3.0]]).double(), torch.tensor([[0.3, 1.0]]).double()
    x = noised(data, noise, torch.tensor([0.25], dtype=torch.float64))
    torch.testing.assert_close(denoise(lambda *_: noise, x, [0.25, 1.0]), data, atol=1e-12, rtol=0)


def test_the_deterministic_way_back_is_the_linear_map_of_a_gaussian() -> None:
    """From level a the point that is z deviations off goes to the data that is z deviations off."""
    path = way_back(levels(), 500)
    start, z = path[0], torch.linspace(-2, 2, 5, dtype=torch.float64).unsqueeze(1)
    spread = math.sqrt(start**2 * DEVIATION**2 + 1 - start**2)
    found = denoise(gaussian, start * MEAN + spread * z, path)
    torch.testing.assert_close(found, MEAN + DEVIATION * z, atol=0.02, rtol=0)


def test_the_velocity_by_hand_gives_the_noise_and_the_data_back() -> None:
    data, noise, level = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, -1.0]]), torch.tensor([0.6])
    found = velocity(data, noise, level)
    assert found[0].tolist() == pytest.approx([0.6 - 0.8 * 2, -0.6])
    point = noised(data, noise, level)
    torch.testing.assert_close(noise_of(found, point, level), noise)
    torch.testing.assert_close(0.6 * point - 0.8 * found, data)


def test_an_error_of_the_velocity_is_one_of_the_data_and_one_of_the_noise_is_divided_by_the_level() -> None:
    data, noise = torch.tensor([[1.5]]), torch.tensor([[-0.5]])
    level = levels()[-1:].float()  # 0.006: the first step of the way back
    point, a = noised(data, noise, level), float(level)
    path = [a, 1.0]  # the data at once
    by_velocity = denoise(lambda x, _: noise_of(velocity(data, noise, level) + 0.1, x, level), point, path)
    assert float(by_velocity) == pytest.approx(1.5 - 0.1 * math.sqrt(1 - a * a), abs=1e-3)
    by_noise = denoise(lambda x, _: noise + 0.1, point, path)
    assert float(by_noise) == pytest.approx(1.5 - 0.1 * math.sqrt(1 - a * a) / a, rel=1e-3)


def test_with_noise_on_the_way_the_data_has_its_mean_and_deviation() -> None:
    random = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return torch.randn(20_000, 1, dtype=torch.float64, generator=random)

    found = denoise(gaussian, draw(), way_back(levels(), 200), eta=1.0, draw=draw)
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(found.std()) == pytest.approx(DEVIATION, abs=0.03)


def test_what_cannot_be_done_is_refused() -> None:
    for wrong in (lambda: levels(0), lambda: levels(3, last=1.0), lambda: way_back(levels(10), 11),
                  lambda: denoise(gaussian, torch.zeros(1, 1), [0.5, 0.4]),
                  lambda: denoise(gaussian, torch.zeros(1, 1), [0.5, 1.0], eta=1.0)):  # fmt: skip
        with pytest.raises(ConfigError):
            wrong()
