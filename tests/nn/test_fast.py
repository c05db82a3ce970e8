"""The fast form of an encoder against the plain one, which is the oracle: every family, layout, size and length."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechssl import encoders
from speechssl.encoders.pretrained import EncoderCard, Pretrained, best_kernel, save
from speechssl.errors import ConfigError
from speechssl.extract.job import PLAIN_ONLY
from speechssl.nn import fast
from speechssl.nn.fast import linear
from speechssl.nn.fast.position import FourierConv
from speechssl.nn.speech_encoder import SpeechEncoder
from tests.encoders.tiny import BASE, TINY

CASES = [
    (family, i) for family in TINY for i in range(len(TINY[family]))
    if family in ("data2vec2_audio", "data2vec_audio", "hubert", "melhubert", "unispeech_sat", "wav2vec2", "wavlm")
]  # fmt: skip
PRESETS = [
    ("hubert", "base", 3), ("hubert", "mhubert-147", 3), ("wav2vec2", "large", 2), ("wav2vec2", "xls-r-1b", 1),
    ("wavlm", "base", 3), ("wavlm", "large", 2), ("data2vec_audio", "base", 3), ("hubert", "large", 2),
    ("data2vec2_audio", "base", 2), ("melhubert", "tiny", 8),
]  # fmt: skip
LENGTHS = (399, 400, 719, 720, 1039, 1040, 16000, 16321, 51361)
TOLERANCE = 1e-5  # of the largest magnitude

pytestmark = pytest.mark.skipif(not linear.available(), reason="this torch or CPU has no packed linears")


def build(family: str, values: dict[str, Any]) -> SpeechEncoder:
    torch.manual_seed(0)
    model = encoders.build(family, values).eval().requires_grad_(False)
    for parameter in model.parameters():  # norms and biases that do something
        if parameter.ndim == 1:
            parameter += 0.2 * torch.randn_like(parameter)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer += 0.3 * torch.rand_like(buffer)
    assert isinstance(model, SpeechEncoder)
    return model


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + 0.03


def assert_close(ours: Tensor, plain: Tensor, tolerance: float = TOLERANCE) -> None:
    assert ours.shape == plain.shape and ours.dtype == torch.float32
    if plain.numel():
        error = float((ours - plain).abs().max() / plain.abs().max())
        assert error <= tolerance, f"{error:.1e}"


@pytest.mark.parametrize(("family", "case"), CASES)
@torch.no_grad()
def test_every_layer_of_every_family_and_length_equals_the_plain_one(family: str, case: int) -> None:
    plain = build(family, TINY[family][case])
    ours = fast.accelerate(plain)
    for num_samples in LENGTHS:
        wav = noise(1, num_samples)
        (expected, counts), (found, our_counts) = plain.layers(wav), ours.layers(wav)
        assert torch.equal(counts, our_counts) and len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b)
        assert_close(ours(wav)[0], plain(wav)[0])


@pytest.mark.parametrize(("family", "preset", "num_layers"), PRESETS)
@torch.no_grad()
def test_encoders_of_real_size_equal_the_plain_ones(family: str, preset: str, num_layers: int) -> None:
    module = importlib.import_module(f"speechssl.encoders.{family}")
    values = {**dataclasses.asdict(module.PRESETS[preset]), "num_layers": num_layers}
    plain = build(family, values)
    ours = fast.accelerate(plain)
    for num_samples in (400, 40_123):
        wav = noise(1, num_samples)
        for a, b in zip(ours.layers(wav)[0], plain.layers(wav)[0], strict=True):
            assert_close(a, b)


@torch.no_grad()
def test_all_layers_of_a_whole_base_model_equal_the_plain_ones() -> None:
    plain = build("hubert", {})
    ours = fast.accelerate(plain)
    wav = noise(1, 51_361)
    for a, b in zip(ours.layers(wav)[0], plain.layers(wav)[0], strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("case", [0, 1])
@torch.no_grad()
def test_neighbours_and_padding_change_nothing_at_all(case: int) -> None:
    ours = fast.accelerate(build("hubert", TINY["hubert"][case]))
    wavs = [noise(16_000), noise(9_000, seed=1), noise(399, seed=2), noise(400, seed=3)]
    lengths = torch.tensor([len(wav) for wav in wavs])
    padded = torch.full((4, 16_000), float("nan"))
    for row, wav in zip(padded, wavs, strict=True):
        row[: len(wav)] = wav
    states, counts = ours.layers(padded, lengths)
    final, _ = ours(padded, lengths)
    assert counts.tolist() == [49, 27, 0, 1] == ours.frame_lengths(lengths).tolist()
    for i, wav in enumerate(wavs):
        alone, _ = ours.layers(wav.unsqueeze(0))
        for a, b in zip(states, alone, strict=True):
            assert torch.equal(a[i, : counts[i]], b[0]) and not a[i, counts[i] :].any()
        assert torch.equal(final[i, : counts[i]], ours(wav.unsqueeze(0))[0][0]) and not final[i, counts[i] :].any()


@torch.no_grad()
def test_it_gives_the_same_again_and_leaves_the_waveform_and_the_plain_encoder_alone() -> None:
    plain = build("hubert", BASE)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    ours, wav = fast.accelerate(plain), noise(1, 20_000)
    kept = wav.clone()
    first = ours.layers(wav)[0]
    assert all(torch.equal(a, b) for a, b in zip(first, ours.layers(wav)[0], strict=True))
    assert torch.equal(wav, kept)
    after = plain.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    for parameter in plain.parameters():  # a copy: what becomes of the original does not matter
        parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(first, ours.layers(wav)[0], strict=True))


@torch.no_grad()
def test_layers_above_the_asked_one_are_not_computed() -> None:
    ours = fast.accelerate(build("wavlm", TINY["wavlm"][0]))
    ours._transformer._blocks[2] = None  # type: ignore[call-overload]
    assert len(ours.layers(noise(1, 8000), upto=2)[0]) == 3
    with pytest.raises(TypeError):
        ours.layers(noise(1, 8000))
    with pytest.raises(ConfigError, match="layer 4"):
        ours.layers(noise(1, 8000), upto=4)


def test_a_waveform_far_off_zero_and_a_silent_one_keep_their_accuracy() -> None:
    """The group norm is folded in from moments of the waveform, which must not cancel."""
    plain = build("hubert", BASE)
    ours = fast.accelerate(plain)
    for wav in (noise(1, 16_000) + 5, torch.zeros(1, 16_000), 1e-4 * noise(1, 16_000)):
        with torch.no_grad():
            expected = plain.double().layers(wav.double())[0][-1].float()
            plain.float()
            assert_close(ours.layers(wav)[0][-1], expected, 5e-5)


@pytest.mark.parametrize(("kernel", "groups"), [(128, 16), (19, 16), (16, 4), (7, 1), (1, 2)])
@pytest.mark.parametrize("num_frames", [1, 2, 128, 129, 130, 700])
@torch.no_grad()
def test_the_fourier_convolution_equals_the_direct_one(kernel: int, groups: int, num_frames: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(64, 64, kernel, padding=kernel // 2, groups=groups)
    x = torch.randn(num_frames, 64)
    expected = conv.double()(x.double().T)[:, :num_frames].T.float()
    assert_close(FourierConv(conv.float())(x), expected, 2e-6)


def test_a_recording_in_windows_equals_the_plain_one_in_windows() -> None:
    values = TINY["hubert"][0]
    plain = Pretrained(build("hubert", values), EncoderCard("hubert", values, normalize=True))
    ours = plain.with_kernel("fast")
    wav = noise(16_000 * 7)
    for seconds in (2.0, 60.0):
        found = ours.features_long(wav, 2, window_s=seconds, overlap_s=0.5)
        assert_close(found, plain.features_long(wav, 2, window_s=seconds, overlap_s=0.5))


def test_the_identity_stays_and_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    plain = Pretrained(build("hubert", BASE), EncoderCard("hubert", BASE))
    ours = plain.with_kernel("fast")
    assert (ours.kernel, ours.sha256, ours.card) == ("fast", plain.sha256, plain.card)
    assert ours.with_kernel("fast") is ours and plain.with_kernel("plain") is plain
    assert not list(ours.encoder.parameters()) and ours.encoder.config == plain.encoder.config
    for refused in (
        lambda: ours.with_kernel("plain"), lambda: ours.with_precision("bf16"), lambda: save(tmp_path, ours),
        lambda: plain.with_precision("int8").with_kernel("fast"),
        lambda: Pretrained(encoders.build("sew", TINY["sew"][0]), EncoderCard("sew", {})).with_kernel("fast"),
        lambda: fast.accelerate(build("hubert", BASE).double()),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            refused()


def test_the_best_kernel_is_the_fast_one_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {family: best_kernel(family, precision="fp32", device="cpu") for family in encoders.families()}
    fast_ones = {family for family, kernel in found.items() if kernel == "fast"}
    assert fast_ones == {family for family, _ in CASES}
    assert best_kernel("hubert", precision="int8", device="cpu") == "plain"
    assert best_kernel("hubert", precision="fp32", device="cuda") == "plain"
    monkeypatch.setattr("speechssl.nn.fast.encoder.available", lambda dtype: False)
    assert best_kernel("hubert", precision="fp32", device="cpu") == "plain"
    with pytest.raises(ConfigError, match="plain"):
        fast.accelerate(build("hubert", BASE))


def test_operators_that_are_missing_or_wrong_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (lambda self, x: self(x), lambda self, x: torch.zeros(2).view(3)):  # no GELU; a RuntimeError
        with monkeypatch.context() as patch:
            linear.available.cache_clear()
            patch.setattr(linear.PackedLinear, "gelu", wrong)
            assert not linear.available()
    with monkeypatch.context() as patch:
        linear.available.cache_clear()
        patch.setattr(linear, "_OPERATORS", ("_no_such_operator",))
        assert not linear.available()
    linear.available.cache_clear()
    assert linear.available()


@pytest.mark.skipif(not linear.available(torch.bfloat16), reason="no bfloat16 instructions or operators")
@pytest.mark.parametrize(("family", "case"), CASES)
def test_bfloat16_is_as_close_as_the_plain_one_in_bfloat16(family: str, case: int) -> None:
    exact = Pretrained(build(family, TINY[family][case]), EncoderCard(family, {}))
    low = exact.with_precision("bf16")
    ours = low.with_kernel("fast")
    assert (ours.precision, ours.kernel, ours.sha256) == ("bf16", "fast", exact.sha256)
    wav = noise(16_321)
    for layer in range(exact.encoder.num_layers + 1):
        expected = exact.features(wav, layer)
        errors = [float((p.features(wav, layer) - expected).norm() / expected.norm()) for p in (ours, low)]
        assert 1e-5 < errors[0] < max(0.01, 1.5 * errors[1]), f"layer {layer}: {errors}"


def test_families_without_a_fast_form_are_known_without_torch() -> None:
    for family in PLAIN_ONLY:
        assert best_kernel(family, precision="fp32", device="cpu") == "plain"
