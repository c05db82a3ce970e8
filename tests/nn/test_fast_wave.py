"""The fast form of HiFi-GAN's generator against the plain one."""

import pytest
import torch
from torch import Tensor

from speechssl.errors import ConfigError
from speechssl.nn.fast import wave
from speechssl.nn.wave_blocks import add_weight_norm
from speechssl.nn.wave_generator import SpectralGenerator, WaveGenerator
from speechssl.units import vocoder as folders
from speechssl.units.vocoder import SpokenUnits, Vocoder
from speechssl.vocoders.unit_vocoder import Config, UnitVocoder
from tests.encoders.parity import randomize

DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if wave.available(dtype)]
CASES = {
    "hifigan": {"strides": (4, 2), "up_kernels": (8, 4), "kernels": (3, 7, 11), "dilations": (1, 3, 5)},
    "odd": {"strides": (5, 3), "up_kernels": (11, 8), "kernels": (3,), "dilations": (2,)},
    "long_steps": {"strides": (6,), "up_kernels": (6,), "kernels": (3, 5), "dilations": (1,)},
}
VOCODER = {"kind": "wave", "channels": 32, "strides": [5, 4], "up_kernels": [11, 8], "kernels": [3, 5],
           "dilations": [1, 3], "last_kernel": 0, "activation": "leaky_relu"}  # fmt: skip


def make(case: str) -> WaveGenerator:
    torch.manual_seed(0)
    built = WaveGenerator(6, channels=32, last_kernel=None, kind="leaky_relu", **CASES[case])
    randomize(built)
    return built.eval()


def error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference, of the largest sample."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_samples_are_the_plain_ones_up_to_rounding(case: str, dtype: torch.dtype) -> None:
    plain = make(case)
    fast = wave.FastWaveGenerator(plain, dtype)
    for shape in ((1, 1, 6), (1, 50, 6), (3, 7, 6)):
        frames = torch.randn(*shape)
        before = frames.clone()
        assert error(fast(frames), plain(frames)) < (1e-5 if dtype == torch.float32 else 0.1)
        assert torch.equal(frames, before)
    assert fast(torch.zeros(2, 0, 6)).shape == (2, 0)


def test_what_has_no_fast_form_is_known() -> None:
    assert wave.supports(make("odd"))
    assert not wave.supports(WaveGenerator(6, channels=16, strides=(2,)))  # snake
    assert not wave.supports(SpectralGenerator(6, channels=8, hop=30, num_blocks=1, window=120))
    normed = make("odd")
    add_weight_norm(normed)
    assert not wave.supports(normed)


@pytest.mark.skipif(not DTYPES, reason="no oneDNN operators here")
def test_a_vocoder_uses_it_where_it_may_and_stays_the_same_vocoder() -> None:
    torch.manual_seed(0)
    module = UnitVocoder(Config(num_units=7, dim=6, generator=VOCODER)).eval()
    units = SpokenUnits(7, 800.0)
    plain = Vocoder(module, folders.VocoderCard("", "", module.config, units, 16_000, 800.0, folders.sha256(module)))
    ids = torch.randint(7, (1200,))
    wanted = plain(ids)
    assert plain.accelerate().module is module and module._fast is not None
    assert folders.sha256(module) == plain.card.sha256
    assert error(plain(ids), wanted) < 1e-5
    module.generator.first.bias.data.add_(1.0)  # what was packed stays as it was
    valid = torch.ones(1, 1200, dtype=torch.bool)
    with torch.inference_mode():
        assert torch.equal(module(ids[None], valid=valid), module.generator(module.frames(ids[None]), valid))
    module(ids[None, :5]).sum().backward()
    assert module.units.weight.grad is not None


def test_bf16_is_refused_where_there_is_none() -> None:
    spectral = {"kind": "spectral", "channels": 8, "num_blocks": 1, "hop": 20, "window": 100}
    module = UnitVocoder(Config(num_units=7, dim=6, generator=spectral)).eval()
    vocoder = Vocoder(module, folders.VocoderCard("", "", module.config, SpokenUnits(7, 800.0), 16_000, 800.0, ""))
    assert vocoder.accelerate("fp32") is vocoder
    with pytest.raises(ConfigError, match="bf16"):
        vocoder.accelerate("bf16")
