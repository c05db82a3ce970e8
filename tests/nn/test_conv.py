"""The convolutional front end: norms over real frames, gradients, pieces of a long recording."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl.nn.conv import ChannelNorm, ConvStack, Moments, TimeNorm

LAYERS = ((6, 10, 5), (8, 3, 2), (8, 2, 2))


def time_norm(dtype: torch.dtype = torch.float64) -> TimeNorm:
    norm = TimeNorm(3).to(dtype)
    norm.weight.data, norm.bias.data = torch.tensor([1.0, 2.0, 3.0]).to(dtype), torch.tensor([0.5, 0.0, -1.0]).to(dtype)
    return norm


def test_time_norm_by_hand() -> None:
    norm = TimeNorm(1, eps=0.0).double()
    x = torch.tensor([[[1.0, 3.0, 99.0]]], dtype=torch.float64)  # mean 2, variance 1 of the first two
    assert norm(x, torch.tensor([2]))[0, 0, :2].tolist() == [-1.0, 1.0]


def test_time_norm_of_a_batch_is_group_norm_of_each_utterance() -> None:
    norm = time_norm()
    x = torch.randn(3, 3, 20, dtype=torch.float64) + 5
    lengths = torch.tensor([20, 7, 1])
    together = norm(x, lengths)
    for row, n in enumerate(lengths.tolist()):
        alone = F.group_norm(x[row : row + 1, :, :n], 3, norm.weight, norm.bias, norm.eps) if n > 1 else None
        expected = norm.bias.view(1, 3, 1) if alone is None else alone  # one frame: variance 0
        torch.testing.assert_close(together[row : row + 1, :, :n], expected, rtol=1e-12, atol=1e-12)


def test_time_norm_gradients_are_exact_and_ignore_the_padding() -> None:
    norm, lengths = time_norm(), torch.tensor([5, 3])
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)

    def real_frames(x: Tensor) -> Tensor:
        y = norm(x, lengths)
        return torch.cat([y[0].flatten(), y[1, :, :3].flatten()])

    torch.autograd.gradcheck(real_frames, x)
    real_frames(x).square().sum().backward()
    assert x.grad is not None and not x.grad[1, :, 3:].any()


def test_time_norm_of_bfloat16_counts_in_float32() -> None:
    x = (torch.randn(2, 3, 3000) + 8).bfloat16()
    y = time_norm(torch.bfloat16)(x, torch.tensor([3000, 2000])).float()
    expected = time_norm()(x.double(), torch.tensor([3000, 2000])).float()
    assert (y - expected)[0].abs().max() < 0.05


def test_given_moments_replace_its_own() -> None:
    norm, x = time_norm(), torch.randn(1, 3, 50, dtype=torch.float64)
    moments = Moments(x.mean(-1), x.var(-1, unbiased=False))
    whole = norm(x)
    pieces = torch.cat([norm(piece, moments=moments) for piece in x.split(13, dim=-1)], dim=-1)
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)


def test_channel_norm_is_layer_norm_of_each_frame() -> None:
    norm, x = ChannelNorm(4), torch.randn(2, 4, 6)
    for t in range(6):
        torch.testing.assert_close(norm(x)[:, :, t], F.layer_norm(x[:, :, t], (4,)))


@pytest.mark.parametrize(("norm", "bias"), [("group", False), ("group", True), ("layer", True)])
def test_stack_equals_plain_convolutions_of_each_utterance(norm: str, bias: bool) -> None:
    stack = ConvStack(LAYERS, norm=norm, bias=bias).double()  # type: ignore[arg-type]
    assert (stack.receptive_field, stack.hop, stack.dim) == (30, 20, 8)
    wav = torch.randn(3, 400, dtype=torch.float64)
    lengths = torch.tensor([400, 211, 30])
    y = stack(wav, lengths)
    for row, n in enumerate(lengths.tolist()):
        x = wav[row, :n].view(1, 1, n)
        for i, layer in enumerate(stack.layers):
            x = F.conv1d(x, layer.conv.weight, layer.conv.bias, stride=layer.conv.stride[0])
            if norm == "layer":
                x = F.layer_norm(x.mT, x.shape[1:2]).mT
            elif i == 0:
                x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            x = F.gelu(x)
        frames = int(stack.frame_lengths(lengths)[row])
        assert x.shape[2] == frames
        torch.testing.assert_close(y[row, :frames], x[0].mT, rtol=1e-12, atol=1e-12)


def test_short_and_empty_input_gives_no_frames_and_keeps_the_graph() -> None:
    stack = ConvStack(LAYERS)
    for samples in (0, 1, 29):
        wav = torch.randn(2, samples, requires_grad=True)
        y = stack(wav)
        assert y.shape == (2, 0, 8)
        y.sum().backward()
