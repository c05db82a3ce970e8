"""Blocks over mels as images: adaptive instance normalisation against torch's, residual blocks against a slow form."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechssl.nn.image_blocks import AdaptiveInstanceNorm, ImageBlock, ImageEncoder, mean_pool


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_adain_is_torchs_instance_norm_with_a_weight_and_bias_of_the_style() -> None:
    norm, x, style = AdaptiveInstanceNorm(3, 4).double(), 5 + 2 * image(2, 3, 6, 5), image(2, 4, seed=1)
    made = norm(x, style)
    for row in range(2):
        told = norm.told.weight @ style[row] + norm.told.bias
        oracle = nn.InstanceNorm2d(3, affine=True).double()
        with torch.no_grad():
            oracle.weight.copy_(1 + told[:3])
            oracle.bias.copy_(told[3:])
        torch.testing.assert_close(made[row : row + 1], oracle(x[row : row + 1]))
    assert float((made[0] - norm(x, style.flip(0))[0]).abs().max()) > 0.1


@pytest.mark.parametrize("by", [(1, 1), (2, 2), (2, 1), (3, 2)])
def test_mean_pool_is_avg_pool2d_with_its_gradient(by: tuple[int, int]) -> None:
    x = image(2, 3, 7, 9).requires_grad_()
    found, oracle = mean_pool(x, by), F.avg_pool2d(x, by)
    torch.testing.assert_close(found, oracle)
    slopes = [torch.autograd.grad(value.sin().sum(), x)[0] for value in (found, oracle)]
    torch.testing.assert_close(*slopes)


def test_a_block_down_and_a_block_up_are_what_the_paper_draws() -> None:
    down, x = ImageBlock(2, 4, norm="instance", resample=(2, 1)).double(), image(1, 2, 6, 5)
    inner = F.avg_pool2d(down.first(F.leaky_relu(F.instance_norm(x), 0.2)), (2, 1))
    hand = down.second(F.leaky_relu(F.instance_norm(inner), 0.2)) + F.avg_pool2d(down.shortcut(x), (2, 1))
    torch.testing.assert_close(down(x), hand / math.sqrt(2))
    up, style = ImageBlock(4, 2, norm="style", style=3, resample=(2, 1), up=True).double(), image(1, 3)
    y = image(1, 4, 3, 5)
    inner = up.first(F.leaky_relu(up.norms[0](y, style), 0.2).repeat_interleave(2, 2))
    hand = up.second(F.leaky_relu(up.norms[1](inner, style), 0.2)) + up.shortcut(y.repeat_interleave(2, 2))
    torch.testing.assert_close(up(y, style), hand / math.sqrt(2))


def test_an_image_encoder_doubles_channels_up_to_the_most_and_says_how_small_an_image_may_be() -> None:
    encoder = ImageEncoder(1, 2, most=6, depth=2)
    assert encoder.outputs == 6 and encoder.smallest == 4
    assert encoder(torch.randn(2, 1, 8, 4)).shape == (2, 6)
    assert ImageEncoder(1, 8, most=6, depth=1)(torch.randn(2, 1, 8, 4)).shape == (2, 6)
