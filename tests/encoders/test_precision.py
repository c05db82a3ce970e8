"""bf16 and int8 copies of an encoder: what they compute, how close they come, what they leave alone."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from speechssl import encoders
from speechssl.encoders.pretrained import EncoderCard, Pretrained, save
from speechssl.errors import ConfigError
from speechssl.nn.precision import Int8Linear, Precision
from tests.encoders.tiny import TINY

CASES = [(family, i) for family in TINY for i in range(len(TINY[family])) if "num_heads" in TINY[family][i]]


def pretrained(family: str, case: int = 0, *, normalize: bool = False) -> Pretrained:
    """With weights as initialised for training: those of `parity.randomize` make attention all but a lookup."""
    torch.manual_seed(0)
    values = TINY[family][case]
    return Pretrained(encoders.build(family, values).eval(), EncoderCard(family, values, normalize=normalize))


def noise(samples: int = 16000, seed: int = 0) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def relative_error(ours: Tensor, exact: Tensor) -> float:
    assert ours.shape == exact.shape and ours.dtype == torch.float32
    return float((ours - exact).norm() / exact.norm())


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize(("family", "case"), CASES)
def test_features_are_close_float32_and_not_the_same(family: str, case: int, precision: Precision) -> None:
    exact = pretrained(family, case)
    layer = exact.encoder.num_layers
    error = relative_error(exact.with_precision(precision).features(noise(), layer), exact.features(noise(), layer))
    assert 1e-5 < error < 0.03


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@torch.inference_mode()
def test_the_final_output_follows(precision: Precision) -> None:
    exact = pretrained("sew")
    low = exact.with_precision(precision)
    wav, lengths = torch.stack([noise(8000), noise(8000, 1)]), torch.tensor([8000, 5000])
    (ours, ours_lengths), (theirs, theirs_lengths) = low.encoder(wav, lengths), exact.encoder(wav, lengths)
    assert torch.equal(ours_lengths, theirs_lengths) and relative_error(ours, theirs) < 0.03
    assert torch.equal(low.encoder.frame_lengths(lengths), exact.encoder.frame_lengths(lengths))


def test_int8_leaves_layer_0_as_it_is() -> None:
    exact = pretrained("hubert")
    assert torch.equal(exact.with_precision("int8").features(noise(), 0), exact.features(noise(), 0))


@pytest.mark.parametrize("shape", [(7, 24), (1, 24), (0, 24), (2, 5, 24), (33, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_int8_linear_is_the_product_of_rounded_rows_and_channels(shape: tuple[int, ...], bias: bool) -> None:
    linear = torch.nn.Linear(24, 16, bias=bias)
    x = torch.randn(shape) * 10
    x.view(-1, 24)[3:4] = 0  # a row of zeros has no scale
    weight_scale = linear.weight.double().abs().amax(1, keepdim=True) / 127
    row_scale = (x.double().abs().amax(-1, keepdim=True) / 127).clamp_min(1e-12) if x.numel() else x.double()
    rounded_weight = (linear.weight.double() / weight_scale).round() * weight_scale
    rounded_x = (x.double() / row_scale).round() * row_scale if x.numel() else x.double()
    expected = torch.nn.functional.linear(rounded_x, rounded_weight, linear.bias.double() if bias else None)
    ours = Int8Linear(linear)(x)
    assert ours.shape == (*shape[:-1], 16)
    # float32 division may round another way where a value lies half-way between two integers: one step at most
    step = float((row_scale * 127 * weight_scale.max()).max().detach()) if x.numel() else 0.0
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5 + step)
    exact = linear(x).detach()
    assert not x.numel() or float((ours - exact).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_batched_equals_one_by_one_within_the_rounding(precision: Precision) -> None:
    low = pretrained("wavlm").with_precision(precision).encoder
    lengths = torch.tensor([8000, 5000, 399])
    wav = torch.stack([noise(8000, i) for i in range(3)])
    layers, frames = low.layers(wav, lengths)
    for row, (samples, count) in enumerate(zip(lengths, frames, strict=True)):
        alone, _ = low.layers(wav[row : row + 1, :samples])
        for together, single in zip(layers, alone, strict=True):
            if count:
                assert relative_error(together[row, :count], single[0]) < 0.01


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_long_recordings_work_and_layer_0_still_equals_one_pass_within_the_rounding(precision: Precision) -> None:
    low = pretrained("hubert", normalize=True).with_precision(precision)
    wav = noise(10 * 16000) * torch.linspace(0.1, 1, 160000)
    ours = low.features_long(wav, 0, window_s=4.0, overlap_s=1.0)
    assert relative_error(ours, low.features(wav, 0)) < 0.01


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_the_original_stays_and_the_identity_names_it_and_the_precision(precision: Precision) -> None:
    exact = pretrained("hubert")
    before = {name: tensor.clone() for name, tensor in exact.encoder.state_dict().items()}
    identity = exact.sha256
    low = exact.with_precision(precision)
    assert (low.precision, low.sha256, low.card) == (precision, identity, exact.card)
    assert exact.precision == "fp32" and exact.sha256 == identity
    assert all(torch.equal(tensor, before[name]) for name, tensor in exact.encoder.state_dict().items())
    assert exact.with_precision("fp32") is exact and low.with_precision(precision) is low
    assert isinstance(low.encoder, encoders.Encoder)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    exact = pretrained("hubert")
    with pytest.raises(ConfigError, match="start from fp32"):
        exact.with_precision("int8").with_precision("bf16")
    with pytest.raises(ConfigError, match="no effect"):
        Pretrained(encoders.build("mfcc", {}), EncoderCard("mfcc", {})).with_precision("bf16")
    for family in ("cpc", "vq_wav2vec", "wav2vec"):
        for precision in ("bf16", "int8"):
            with pytest.raises(ConfigError, match="transformer"):
                pretrained(family).with_precision(precision)
    with pytest.raises(ConfigError, match="fp32 encoder"):
        save(tmp_path, exact.with_precision("bf16"))
    with pytest.raises(ConfigError, match="fp16"):
        exact.with_precision("fp16")  # type: ignore[arg-type]
