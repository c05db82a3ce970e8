"""StarGANv2-VC's losses by hand, and against slow float64 forms with their gradients."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from speechssl.nn import conversion_losses as losses


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_adversarial_losses_by_hand() -> None:
    real, made = torch.tensor([0.0, 1.0]), torch.tensor([0.0, -1.0])
    log = [math.log(1 / (1 + math.exp(-value))) for value in (0.0, 1.0)]
    assert float(losses.discriminator_loss(real, made)) == pytest.approx(-sum(log) / 2 * 2)
    hand = -(math.log(0.5) + math.log(1 / (1 + math.exp(1.0)))) / 2
    assert float(losses.generator_loss(made)) == pytest.approx(hand)


def test_the_classifier_pays_the_negative_log_probability_of_who_spoke() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    hand = -(math.log(3 / 4) + math.log(1 / 5)) / 2
    assert float(losses.source_classifier_loss(logits, torch.tensor([1, 1]))) == pytest.approx(hand)


def test_pitch_is_compared_relative_to_its_own_sum_so_that_height_is_free() -> None:
    real = torch.tensor([[100.0, 300.0, 0.0]])
    assert float(losses.pitch_loss(real, 2 * real)) == pytest.approx(0, abs=1e-6)
    assert float(losses.pitch_loss(real, torch.tensor([[200.0, 200.0, 0.0]]))) == pytest.approx(0.5)
    silent = torch.zeros(1, 3)
    assert float(losses.pitch_loss(real, silent)) == pytest.approx(1.0)


def test_loudness_is_free_up_to_the_bias_and_squared_beyond() -> None:
    mel = torch.tensor([[[math.log(3.0), math.log(4.0)]]])  # a frame of norm 5
    assert float(losses.norm_loss(mel, mel + 0.4, bias=0.5)) == 0
    assert float(losses.norm_loss(mel, mel + 2.0, bias=0.5)) == pytest.approx(2.25)
    other = torch.tensor([[[math.log(5.0), -50.0]]])  # of the same norm
    assert float(losses.norm_loss(mel, other, bias=0.0)) == pytest.approx(0, abs=1e-10)


def test_absolute_differences_by_hand() -> None:
    one, other = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[2.0, 0.0]]])
    assert float(losses.cycle_loss(one, other)) == 1.5
    assert float(losses.style_loss(one[0], other[0])) == 1.5
    assert float(losses.diversity_loss(one, other, one, one + 3)) == 4.5
    assert float(losses.speech_loss(torch.zeros(1, 1, 2), torch.tensor([[[0.5, 3.0]]]))) == pytest.approx(
        (0.125 + 2.5) / 2
    )


def slow_pitch(real: Tensor, made: Tensor) -> Tensor:
    rows = [(x / x.sum() - y / y.sum()).abs().sum() for x, y in zip(real, made, strict=True)]
    return torch.stack(rows).mean()


def slow_norm(real: Tensor, made: Tensor) -> Tensor:
    rows = []
    for x, y in zip(real, made, strict=True):
        apart = (x.exp().norm().log() - y.exp().norm().log()).abs() - 0.1
        rows.append(torch.where(apart > 0, apart, 0 * apart) ** 2)
    return torch.stack(rows).mean()


def norm(real: Tensor, made: Tensor) -> Tensor:
    return losses.norm_loss(real[None], made[None], bias=0.1)


@pytest.mark.parametrize(("loss", "slow"), [(losses.pitch_loss, slow_pitch), (norm, slow_norm)])
def test_losses_and_their_gradients_equal_slow_forms(
    loss: Callable[[Tensor, Tensor], Tensor], slow: Callable[[Tensor, Tensor], Tensor]
) -> None:
    real, made = drawn(4, 6).abs() + 1, (drawn(4, 6, seed=1).abs() + 1).requires_grad_()
    found, expected = loss(real, made), slow(real, made)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)
    assert float(found.detach()) > 0.01
    gradients = [torch.autograd.grad(value, made)[0] for value in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


def test_r1_of_a_quadratic_critic_is_half_the_squared_slope_and_has_a_gradient() -> None:
    weight = drawn(3, 2).requires_grad_()
    mel = drawn(5, 3, 2, seed=1).requires_grad_()
    penalty = losses.gradient_penalty(mel, (weight * mel.square()).sum((1, 2)))
    hand = (2 * weight * mel.detach()).square().sum() / (2 * 5)
    assert float(penalty) == pytest.approx(float(hand), rel=1e-5)
    (slope,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(slope, 4 * weight.detach() * mel.detach().square().mean(0), atol=1e-5, rtol=1e-5)
