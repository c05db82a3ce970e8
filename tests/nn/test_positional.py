"""Positional convolutions against their definition, frame by frame."""

import math

import pytest
import torch
from torch import Tensor, nn

from speechssl.nn.positional import ConvPosition, StackedConvPosition


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def slow_conv(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """Frame t of the output sees frames t - K // 2 .. t - K // 2 + K - 1 of x [T, C]; those outside are zero."""
    kernel, groups = conv.kernel_size[0], conv.groups
    size = x.shape[1] // groups
    y = conv.bias.repeat(len(x), 1)
    for t in range(len(x)):
        for k in range(kernel):
            source = t + k - kernel // 2
            if 0 <= source < len(x):
                for g in range(groups):
                    span = slice(g * size, (g + 1) * size)
                    y[t, span] = y[t, span] + conv.weight[span, :, k] @ x[source, span]
    return y


@pytest.mark.parametrize("kernel", [1, 4, 5, 16])
def test_one_convolution_by_definition(kernel: int) -> None:
    position = ConvPosition(6, kernel=kernel, groups=2).double()
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    for row in range(2):
        torch.testing.assert_close(position(x)[row], gelu(slow_conv(x[row], position.conv)))


@pytest.mark.parametrize("kernel", [4, 5])
def test_stack_by_definition_in_a_padded_batch(kernel: int) -> None:
    position = StackedConvPosition(6, kernel=kernel, groups=3, depth=3).double()
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    valid = torch.arange(9) < torch.tensor([[9], [4]])
    together = position(x, valid)
    for row, frames in enumerate((9, 4)):
        y = x[row, :frames]
        for layer in position.layers:
            y = slow_conv(y, layer.conv)
            y = (y - y.mean(1, keepdim=True)) / (y.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            y = gelu(y)
        torch.testing.assert_close(together[row, :frames], y)


def test_batch_norm_comes_before_the_padding_is_zeroed() -> None:
    position = ConvPosition(4, kernel=6, groups=2, batch_norm=True).double().eval()
    assert isinstance(position.norm, nn.BatchNorm1d)
    position.norm.bias.data.fill_(3.0)
    x = torch.randn(2, 9, 4, dtype=torch.float64)
    valid = torch.arange(9) < torch.tensor([[9], [4]])
    torch.testing.assert_close(position(x, valid)[1, :4], position(x[1:, :4])[0])


def test_batch_norm_learns_from_real_frames_only() -> None:
    x = torch.randn(2, 9, 4, dtype=torch.float64)
    valid = torch.arange(9) < torch.tensor([[9], [4]])
    first, second = (ConvPosition(4, kernel=6, groups=2, batch_norm=True).double().train() for _ in range(2))
    second.load_state_dict(first.state_dict())
    garbage = torch.where(valid.unsqueeze(-1), x, 1e6)
    torch.testing.assert_close(first(x, valid)[1, :4], second(garbage, valid)[1, :4])
    assert isinstance(second.norm, nn.BatchNorm1d)
    torch.testing.assert_close(second.norm.running_mean, 0.1 * x[valid].mean(0))


def test_stride_gives_every_second_frame() -> None:
    plain, strided = ConvPosition(4, kernel=5, groups=1), ConvPosition(4, kernel=5, groups=1, stride=2)
    strided.load_state_dict(plain.state_dict())
    x = torch.randn(1, 9, 4)
    torch.testing.assert_close(strided(x), plain(x)[:, ::2])


def test_no_frames_give_no_frames() -> None:
    for position in (ConvPosition(4, kernel=4, groups=1, batch_norm=True), StackedConvPosition(4, groups=1)):
        assert position(torch.zeros(2, 0, 4)).shape == (2, 0, 4)
