"""Adversarial losses by hand."""

import pytest
import torch
from torch import Tensor

from speechssl.nn.adversarial import Judgement, discriminator_loss, feature_matching_loss, generator_loss


def judge(scores: list[float], *features: list[float]) -> Judgement:
    return Judgement(torch.tensor(scores), tuple(torch.tensor(f) for f in features))


REAL = [judge([1.0, 0.5], [1.0, 2.0, 3.0], [0.0]), judge([2.0], [4.0])]
FAKE = [judge([0.0, 0.5], [1.5, 2.0, 2.0], [2.0]), judge([-1.0], [1.0])]


def test_least_squares_losses_are_those_computed_by_hand() -> None:
    # real: (0 + 0.25) / 2 and 1; generated: (0 + 0.25) / 2 and 1
    assert float(discriminator_loss(REAL, FAKE)) == pytest.approx(0.125 + 0.125 + 1 + 1)
    assert float(generator_loss(FAKE)) == pytest.approx((1 + 0.25) / 2 + 4)


def test_feature_matching_is_the_sum_of_mean_differences() -> None:
    assert float(feature_matching_loss(REAL, FAKE)) == pytest.approx((0.5 + 0 + 1) / 3 + 2 + 3)


def test_a_perfect_discriminator_and_a_perfect_generator_have_no_loss() -> None:
    ones, zeros = [judge([1.0, 1.0], [3.0])], [judge([0.0], [3.0])]
    assert float(discriminator_loss(ones, zeros)) == 0
    assert float(generator_loss(ones)) == 0 and float(feature_matching_loss(ones, zeros)) == 0


def test_feature_matching_sends_no_gradient_to_the_real_side() -> None:
    a, b = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    real, fake = [Judgement(a, (a,))], [Judgement(b, (b * 2,))]
    feature_matching_loss(real, fake).backward()
    assert a.grad is None and isinstance(b.grad, Tensor) and b.grad.tolist() == [1.0, 1.0]
