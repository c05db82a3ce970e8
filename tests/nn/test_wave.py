"""Encoders and generators of waveforms: lengths, padding, and the maths of their blocks."""

import pytest
import torch
from torch import Tensor, nn

from speechssl.errors import ConfigError
from speechssl.nn.wave_blocks import ResidualBranches, ResidualUnit, Snake, downsampling, upsampling
from speechssl.nn.wave_encoder import SpectralEncoder, WaveEncoder
from speechssl.nn.wave_generator import SpectralGenerator, WaveGenerator, overlap_add
from tests.encoders.parity import randomize


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ENCODERS = {
    "waveform": lambda: WaveEncoder(6, channels=4, strides=(2, 3, 5), dilations=(1, 3)),
    "leaky": lambda: WaveEncoder(6, channels=4, strides=(5, 6), dilations=(2,), kind="leaky_relu"),
    "spectral": lambda: SpectralEncoder(6, channels=8, hop=30, num_blocks=2, window=64, num_mels=8, sample_rate=16_000),
}
GENERATORS = {
    "codec": lambda: WaveGenerator(6, channels=16, strides=(5, 3, 2)),
    "hifigan": lambda: WaveGenerator(6, channels=16, strides=(5, 6), up_kernels=(11, 12), kernels=(3, 7),
                                     dilations=(1, 3), last_kernel=None, kind="leaky_relu"),
    "spectral": lambda: SpectralGenerator(6, channels=8, hop=30, num_blocks=2, window=120),
}  # fmt: skip


def make(maker: object) -> nn.Module:
    torch.manual_seed(0)
    built = maker()  # type: ignore[operator]
    randomize(built)
    return built.double().eval()


def test_snake_is_its_formula_and_differs_between_channels() -> None:
    snake = Snake(2)
    snake.alpha.data = torch.tensor([1.0, 2.5])
    x = torch.tensor([[[0.3, -2.0], [0.3, 0.0]]])
    expected = [[0.3 + 0.0873321925, -2.0 + 0.8268218104], [0.3 + 0.4646313992 / 2.5, 0.0]]  # sin^2(0.3), (2), (0.75)
    torch.testing.assert_close(snake(x), torch.tensor([expected]), atol=1e-6, rtol=1e-6)


def test_a_residual_unit_and_the_mean_of_branches_equal_their_formulas() -> None:
    branches = make(lambda: ResidualBranches(3, kernels=(3, 5), dilations=(1, 2), kind="snake"))
    x = noise(2, 3, 20)
    total = torch.zeros_like(x)
    for kernel, branch in zip((3, 5), branches.branches, strict=True):
        y = x
        for dilation, unit in zip((1, 2), branch, strict=True):
            assert isinstance(unit, ResidualUnit)
            a, b = unit.first.alpha[:, None] + 1e-9, unit.second.alpha[:, None] + 1e-9
            inside = y + torch.sin(a * y) ** 2 / a
            inside = nn.functional.conv1d(inside, unit.dilated.weight, unit.dilated.bias, dilation=dilation,
                                          padding=dilation * (kernel - 1) // 2)  # fmt: skip
            inside = inside + torch.sin(b * inside) ** 2 / b
            y = y + nn.functional.conv1d(inside, unit.last.weight, unit.last.bias, padding=(kernel - 1) // 2)
        total = total + y
    torch.testing.assert_close(branches(x), total / 2, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("stride", [2, 3, 4, 5, 8])
def test_down_divides_and_up_multiplies_the_steps_exactly(stride: int) -> None:
    for steps in (1, 2, 7):
        assert upsampling(2, 3, stride, 2 * stride)(torch.zeros(1, 2, steps)).shape == (1, 3, steps * stride)
        assert downsampling(2, 3, stride)(torch.zeros(1, 2, steps * stride)).shape == (1, 3, steps)
    assert upsampling(2, 3, stride, 2 * stride + 3)(torch.zeros(1, 2, 4)).shape == (1, 3, 4 * stride)


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_every_begun_hop_is_a_frame(kind: str) -> None:
    encoder = make(ENCODERS[kind])
    for samples, frames in ((0, 0), (1, 1), (29, 1), (30, 1), (31, 2), (300, 10), (301, 11)):
        assert encoder(noise(1, samples), torch.tensor([samples])).shape == (1, frames, 6)


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_frames_of_a_batch_are_those_of_each_alone_whatever_the_padding_holds(kind: str) -> None:
    encoder = make(ENCODERS[kind])
    lengths = torch.tensor([311, 90, 0, 1, 59])
    wav = torch.full((5, 340), float("nan"), dtype=torch.float64)
    for row, length in enumerate(lengths.tolist()):
        wav[row, :length] = noise(length, seed=row)
    together = encoder(wav, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = encoder(wav[row : row + 1, :length], lengths[row : row + 1])[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-10, rtol=1e-10)
        assert not together[row, len(alone) :].any()


@pytest.mark.parametrize("kind", sorted(GENERATORS))
def test_waveforms_of_a_batch_are_those_of_each_alone(kind: str) -> None:
    generator = make(GENERATORS[kind])
    frames, lengths = noise(3, 11, 6), [11, 4, 1]
    valid = torch.arange(11) < torch.tensor(lengths).unsqueeze(1)
    assert generator(noise(2, 0, 6)).shape == (2, 0)
    together = generator(frames, valid)
    assert together.shape == (3, 330) and together.dtype == torch.float64
    for row, length in enumerate(lengths):
        alone = generator(frames[row : row + 1, :length])[0]
        assert alone.shape == (length * 30,) and alone.abs().max() > 1e-3
        torch.testing.assert_close(together[row, : length * 30], alone, atol=1e-6, rtol=1e-6)
        assert not together[row, length * 30 :].any()


def test_the_transposed_generator_stays_within_full_scale() -> None:
    assert make(GENERATORS["codec"])(noise(1, 8, 6) * 100).abs().max() <= 1


@pytest.mark.parametrize(("window", "hop"), [(64, 16), (40, 10), (16, 16)])
def test_the_inverse_stft_gives_the_signal_back_edges_included(window: int, hop: int) -> None:
    frames = 9
    shape = torch.hann_window(window, dtype=torch.float64) if window > hop else torch.ones(window, dtype=torch.float64)
    signal = noise(2, frames * hop)
    left = (window - hop) // 2
    padded = nn.functional.pad(signal, (left, window - hop - left))
    spectrum = torch.fft.rfft(padded.unfold(1, window, hop) * shape)
    torch.testing.assert_close(overlap_add(spectrum, shape, hop), signal, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("maker", [*ENCODERS.values(), *GENERATORS.values()])
def test_every_parameter_gets_a_gradient(maker: object) -> None:
    model = make(maker)
    if isinstance(model, WaveGenerator | SpectralGenerator):
        out = model(noise(2, 6, 6))
    else:
        out = model(noise(2, 200), torch.tensor([200, 130]))
    (out * noise(*out.shape, seed=5)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: WaveEncoder(4, channels=0, strides=(2,)),
        lambda: WaveEncoder(4, channels=2, strides=(2, 1)),
        lambda: WaveGenerator(4, channels=6, strides=(2, 2)),
        lambda: SpectralGenerator(4, channels=6, hop=30, num_blocks=1, window=61),
        lambda: SpectralEncoder(4, channels=6, hop=30, num_blocks=1, window=20, num_mels=4, sample_rate=16_000),
        lambda: ResidualBranches(4, kernels=(4,), dilations=(1,), kind="snake"),
        lambda: ResidualBranches(4, kernels=(3,), dilations=(1,), kind="relu"),
        lambda: upsampling(1, 1, 4, 3),
    ],
)
def test_what_cannot_be_built_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigError):
        wrong()  # type: ignore[operator]
