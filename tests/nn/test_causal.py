"""Networks over the past and the encoders made of them: against slow versions, causality, long recordings, codes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from speechssl import encoders
from speechssl.nn.causal import CausalConvStack, Recurrent
from speechssl.nn.conv import TimeNorm
from speechssl.nn.initialize import initialize
from speechssl.quantizers.gumbel import GumbelQuantizer
from speechssl.quantizers.vq import VectorQuantizer, quantization_loss
from tests.encoders.parity import randomize
from tests.encoders.test_long import WINDOWS, pretrained, recording, relative_error
from tests.encoders.tiny import TINY


def test_a_norm_of_one_group_is_over_real_frames_and_channels_together() -> None:
    norm = TimeNorm(2, eps=0.0, groups=1).double()
    x = torch.tensor([[[1.0, 3.0, 99.0], [5.0, 7.0, math.nan]]], dtype=torch.float64)  # mean 4, variance 5
    expected = [[-3 / 5**0.5, -1 / 5**0.5], [1 / 5**0.5, 3 / 5**0.5]]
    torch.testing.assert_close(norm(x, torch.tensor([2]))[0, :, :2], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_norm_of_groups_is_group_norm_of_each_utterance(groups: int) -> None:
    norm = TimeNorm(6, groups=groups).double()
    randomize(norm)
    x = torch.randn(3, 6, 9, dtype=torch.float64) + 2
    lengths = torch.tensor([9, 4, 2])
    together = norm(x, lengths)
    for row, n in enumerate(lengths.tolist()):
        expected = F.group_norm(x[row : row + 1, :, :n], groups, norm.weight, norm.bias, norm.eps)
        torch.testing.assert_close(together[row : row + 1, :, :n], expected)


def slow_stack(stack: CausalConvStack, x: Tensor) -> Tensor:
    """One frame and one tap at a time: x [T, C]."""
    for conv, norm in zip(stack.convs, stack.norms, strict=True):
        kernel = conv.kernel_size[0]
        before = torch.zeros_like(x[0]) if stack.zero_pad else x[0]
        rows = []
        for t in range(len(x)):
            y = conv.bias.clone()
            for tap in range(kernel):
                source = t - (kernel - 1) + tap
                y = y + conv.weight[:, :, tap] @ (x[source] if source >= 0 else before)
            rows.append(y)
        y = torch.stack(rows)
        y = (y - y.mean()) / (y.var(correction=0) + norm.eps).sqrt() * norm.weight + norm.bias
        x = (x + y.relu()) / 2**0.5 if stack.skip else y.relu()
    return x


@pytest.mark.parametrize(("skip", "zero_pad"), [(False, False), (True, True)])
def test_causal_convolutions_equal_loops(skip: bool, zero_pad: bool) -> None:
    stack = CausalConvStack(4, (3, 2), skip=skip, zero_pad=zero_pad).double()
    randomize(stack)
    x = torch.randn(2, 7, 4, dtype=torch.float64)
    ours = stack(x, torch.tensor([7, 5]))
    torch.testing.assert_close(ours[0], slow_stack(stack, x[0]))
    torch.testing.assert_close(ours[1, :5], slow_stack(stack, x[1, :5]))
    assert stack.reach == 3


@pytest.mark.parametrize("family", ["cpc", "wav2vec", "vq_wav2vec"])
def test_the_context_does_not_see_the_future(family: str) -> None:
    """But for the norms' statistics, which are kept here."""
    model = encoders.build(family, TINY[family][0]).eval()
    randomize(model)
    wav = torch.randn(1, 6000, generator=torch.Generator().manual_seed(0))
    moments = model.recording_moments([wav[0]])
    with torch.no_grad():
        whole, _ = model(wav, moments=moments)
        start, counts = model(wav[:, :4000], moments=moments)
    torch.testing.assert_close(start, whole[:, : int(counts)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "case"), [("wav2vec", 0), ("wav2vec", 1), ("vq_wav2vec", 0), ("vq_wav2vec", 1), ("vq_wav2vec", 2)]
)
def test_the_context_of_a_long_recording_equals_that_of_one_pass(family: str, case: int) -> None:
    """Its convolutions see a known stretch of the past, and every norm has the statistics of the whole recording."""
    model = pretrained(family, case)
    wav = recording()
    assert relative_error(model.features_long(wav, 1, **WINDOWS), model.features(wav, 1)) <= 1e-9


@pytest.mark.parametrize("case", [0, 1, 2])
def test_codes_are_those_of_the_quantized_layer(case: int) -> None:
    model = encoders.build("vq_wav2vec", TINY["vq_wav2vec"][case]).eval()
    randomize(model)
    wav = torch.randn(2, 4000)
    lengths = torch.tensor([4000, 2500])
    with torch.no_grad():
        codes, counts = model.codes(wav, lengths)
        layers, _ = model.layers(wav, lengths, upto=0)
    assert codes.shape == (2, int(counts.max()), 2) and codes.unique().numel() > 2
    for row, count in enumerate(counts.tolist()):
        assert (codes[row, count:] == -1).all() and (codes[row, :count] >= 0).all()
        torch.testing.assert_close(model.quantizer.decode(codes[row, :count]), layers[0][row, :count])


def test_vector_quantization_by_hand() -> None:
    quantizer = VectorQuantizer(2, entries=2, groups=2)
    quantizer.codebook.data = torch.tensor([[[0.0], [1.0]], [[-1.0], [3.0]]])
    x = torch.tensor([[0.4, 1.0], [0.6, 1.1]], requires_grad=True)  # the tie of 1.0 goes to the lower code
    found = quantizer(x)
    assert found.codes.tolist() == [[0, 0], [1, 1]] and found.vectors.tolist() == [[0, -1], [1, 3]]
    (found.vectors * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert x.grad.tolist() == [[1, 2], [3, 4]] and quantizer.codebook.grad is None
    x.grad = None
    loss = quantization_loss(x, found.entries, 0.25)
    squares = (0.4**2 + 2**2) / 2 + (0.4**2 + 1.9**2) / 2
    assert float(loss.detach()) == pytest.approx(1.25 * squares)
    loss.backward()
    torch.testing.assert_close(x.grad, 0.25 * torch.tensor([[0.4, 2.0], [-0.4, -1.9]]))
    torch.testing.assert_close(quantizer.codebook.grad, torch.tensor([[[-0.4], [0.4]], [[-2.0], [1.9]]]))


def test_fresh_quantizers_are_not_drawn_like_linear_layers() -> None:
    model = encoders.build("vq_wav2vec", TINY["vq_wav2vec"][0])
    initialize(model, torch.Generator().manual_seed(0))
    quantizer = model.quantizer
    assert (
        isinstance(quantizer, GumbelQuantizer)
        and quantizer.codebook.detach().min() >= 0
        and quantizer.codebook.detach().max() > 0.5
    )
    assert float(quantizer.logits.weight.std()) == pytest.approx((3 * 32) ** -0.5, rel=0.2)
    plain = GumbelQuantizer(64, 4)
    assert float(plain.logits.weight.std()) == pytest.approx(1, rel=0.05)


def test_recurrent_networks_are_torchs() -> None:
    network = Recurrent(3, 4, kind="gru", num_layers=2)
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(network(x), network.cells(x)[0])
    assert network(x[:, :0]).shape == (2, 0, 4)
