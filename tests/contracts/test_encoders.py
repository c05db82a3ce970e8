"""What every encoder owes its callers, checked over all families and layouts in tests/encoders/tiny.py."""

import dataclasses
import importlib
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechssl import config, encoders
from speechssl.encoders import Encoder, layer_dim
from tests.encoders.parity import randomize
from tests.encoders.tiny import TINY, TOLERANCE, UNREACHED

CASES = [(family, i) for family in encoders.families() for i in range(max(1, len(TINY.get(family, []))))]
LENGTHS = (6173, 399, 8000, 0, 400, 4211, 720, 719)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def model(request: pytest.FixtureRequest) -> nn.Module:
    family, i = request.param
    assert TINY.get(family), f"add a small config of {family!r} to tests/encoders/tiny.py"
    built = encoders.build(family, TINY[family][i])
    randomize(built)
    return built.eval()


def waves(lengths: tuple[int, ...] = LENGTHS, *, padding: float = float("nan"), extra: int = 0) -> Tensor:
    """Noise [B, S] of its own for each row, whatever its place, with `padding` behind it."""
    wav = torch.full((len(lengths), max(lengths) + extra), padding)
    for row, length in zip(wav, lengths, strict=True):
        noise = torch.randn(length + 5, generator=torch.Generator().manual_seed(length))
        row[:length] = noise.unfold(0, 5, 1).mean(-1)[:length]
    return wav


def outputs(model: nn.Module, wav: Tensor, lengths: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
    """Each layer and the final output, with its frame counts [B]."""
    with torch.no_grad():
        layers, layer_lengths = model.layers(wav, lengths)
        return [*((layer, layer_lengths) for layer in layers), model(wav, lengths)]


def test_every_family_has_a_tiny_config() -> None:
    assert set(TINY) == set(encoders.families())


def test_it_is_an_encoder(model: nn.Module) -> None:
    assert isinstance(model, Encoder)
    for name in ("sample_rate", "hop", "receptive_field", "dim", "num_layers"):
        assert isinstance(getattr(model, name), int), name


def test_plain_values_rebuild_the_config_and_the_model(model: nn.Module) -> None:
    family = type(model).__module__.rpartition(".")[2]
    values = config.to_dict(model.config)
    assert config.build(type(model.config), values) == model.config
    again = encoders.build(family, values)
    again.load_state_dict(model.state_dict(), strict=True)
    assert dataclasses.is_dataclass(model.config) and model.config.__dataclass_params__.frozen


@pytest.mark.parametrize("family", encoders.families())
def test_presets_are_configs_that_build(family: str) -> None:
    module = importlib.import_module(f"speechssl.encoders.{family}")
    with torch.device("meta"):  # shapes without memory
        for name, preset in getattr(module, "PRESETS", {"default": module.Config()}).items():
            assert isinstance(preset, module.Config), name
            stated = getattr(preset, "num_layers", getattr(module.Model, "num_layers", None))
            of_others = {
                "tdnn": lambda preset: len(preset.dilations), "feed_forward": lambda _: 12,  # HuBERT base's
                "zipformer": lambda preset: len(preset.factors),
            }  # fmt: skip
            expected = of_others[family](preset) if family in of_others else stated
            assert module.Model(preset).num_layers == expected


@pytest.mark.parametrize("family", encoders.families())
def test_released_models_have_one_of_five_frame_rules(family: str) -> None:
    module = importlib.import_module(f"speechssl.encoders.{family}")
    with torch.device("meta"):
        built = module.Model(module.Config())
    rules = {(400, 320), (720, 640), (465, 160), (1, 320), (400, 160)}  # from the third: CPC and wav2vec, codecs, Kaldi
    assert (built.receptive_field, built.hop) in rules
    assert built.sample_rate == 16_000


def test_frame_counts_follow_the_floor_rule(model: nn.Module) -> None:
    first, hop = model.receptive_field, model.hop
    samples = [0, 1, first - 1, first, first + 1, first + hop - 1, first + hop, first + 7 * hop - 1, first + 7 * hop]
    expected = [0 if n < first else (n - first) // hop + 1 for n in samples]
    counts = model.frame_lengths(torch.tensor(samples))
    assert counts.dtype == torch.int64 and counts.tolist() == expected
    assert model.frame_lengths(torch.tensor(first)).item() == 1
    for n, count in zip(samples, expected, strict=True):
        with torch.no_grad():
            layers, lengths = model.layers(torch.zeros(1, n))
        assert lengths.tolist() == [count]
        dims = [layer_dim(model, layer) for layer in range(model.num_layers + 1)]
        assert [layer.shape for layer in layers] == [(1, count, dim) for dim in dims] and dims[-1] == model.dim


def test_too_few_samples_give_no_frames_alone_and_in_company(model: nn.Module) -> None:
    short = model.receptive_field - 1
    for wav in (torch.randn(2, short), torch.randn(1, 0), torch.randn(3, min(1, short))):
        for layer, lengths in outputs(model, wav)[:-1]:
            assert layer.shape[:2] == (len(wav), 0) and lengths.tolist() == [0] * len(wav)
        final, _ = model(wav)
        assert final.shape[0] == len(wav) and final.shape[2] == model.dim
    for layer, lengths in outputs(model, torch.randn(2, 2000), torch.tensor([short, 2000])):
        assert lengths[1] > 0 and layer.isfinite().all()


@pytest.mark.parametrize(("padding", "extra"), [(float("nan"), 0), (float("inf"), 0), (1e4, 1234), (0.0, 1)])
def test_batched_equals_one_by_one_whatever_the_padding_holds(model: nn.Module, padding: float, extra: int) -> None:
    wav = waves(padding=padding, extra=extra)
    together = outputs(model, wav, torch.tensor(LENGTHS))
    family = type(model).__module__.rpartition(".")[2]
    for row, samples in enumerate(LENGTHS):
        alone = outputs(model, waves((samples,)))
        for (batch, batch_lengths), (single, single_lengths) in zip(together, alone, strict=True):
            frames = int(batch_lengths[row])
            assert frames == int(single_lengths[0]) == single.shape[1]
            assert not batch[row, frames:].any(), "frames behind an utterance's end must be zero"
            if frames:
                difference = (batch[row, :frames] - single[0]).abs().max() / single.abs().max().clamp(min=1)
                assert difference <= TOLERANCE.get(family, 1e-5), f"row {row} ({samples} samples): {difference:.1e}"


def test_the_order_within_a_batch_does_not_matter(model: nn.Module) -> None:
    order = list(range(len(LENGTHS)))
    random.Random(3).shuffle(order)
    wav, lengths = waves(), torch.tensor(LENGTHS)
    for (plain, _), (shuffled, _) in zip(
        outputs(model, wav, lengths), outputs(model, wav[order], lengths[order]), strict=True
    ):
        torch.testing.assert_close(plain[order], shuffled, rtol=1e-5, atol=1e-5)


def test_upto_gives_the_same_layers_and_calls_no_block_above(model: nn.Module) -> None:
    wav = waves((3000, 5000))
    lengths = torch.tensor([3000, 5000])
    everything = [layer for layer, _ in outputs(model, wav, lengths)[:-1]]
    blocks = list(model.transformer.layers) if hasattr(model, "transformer") else []
    blocks += [model.context_network] if hasattr(model, "context_network") else []
    assert len(blocks) == model.num_layers
    calls: list[int] = []
    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, i=i: calls.append(i))
    for upto in range(model.num_layers + 1):
        calls.clear()
        with torch.no_grad():
            layers, _ = model.layers(wav, lengths, upto=upto)
        assert calls == list(range(upto))
        assert len(layers) == upto + 1
        for ours, full in zip(layers, everything, strict=False):
            assert torch.equal(ours, full)


@pytest.mark.parametrize("beyond", [-1, 1])
def test_a_layer_that_does_not_exist_is_an_error_that_names_it(model: nn.Module, beyond: int) -> None:
    layer = -1 if beyond < 0 else model.num_layers + 1
    with pytest.raises(ValueError, match=str(layer)):
        model.layers(torch.zeros(1, 1000), upto=layer)


def test_the_input_is_left_alone_and_the_same_input_gives_the_same_output(model: nn.Module) -> None:
    wav, lengths = waves(padding=7.0), torch.tensor(LENGTHS)
    before = wav.clone()
    first = outputs(model, wav, lengths)
    assert torch.equal(wav, before) and lengths.tolist() == list(LENGTHS)
    for (a, _), (b, _) in zip(first, outputs(model, wav, lengths), strict=True):
        assert torch.equal(a, b)


def test_float64_goes_in_and_comes_out(model: nn.Module) -> None:
    single = outputs(model, waves((4000,)))
    double = outputs(model.double(), waves((4000,)).double())
    for (a, _), (b, _) in zip(single, double, strict=True):
        assert b.dtype == torch.float64
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "lengths",
    [torch.tensor([5, 3000]), torch.tensor([-1, 5]), torch.tensor([5]), torch.tensor([5.0, 6.0])],
    ids=["longer-than-padded", "negative", "one-missing", "not-integers"],
)
def test_impossible_lengths_are_refused(model: nn.Module, lengths: Tensor) -> None:
    with pytest.raises(ValueError, match="lengths"):
        model.layers(torch.zeros(2, 2000), lengths)


def test_gradients_reach_the_waveform_and_every_parameter_and_nothing_else(model: nn.Module) -> None:
    kept = (3000, 2500, 300)
    wav = waves(kept, padding=0.0).requires_grad_()
    final, _ = model(wav, torch.tensor(kept))
    layers, _ = model.layers(wav, torch.tensor(kept))
    weights = torch.randn(final[1].shape, generator=torch.Generator().manual_seed(0))
    ((final[1] * weights).sum() + sum((layer[1] ** 3).sum() for layer in layers)).backward()
    assert wav.grad is not None and wav.grad.isfinite().all()
    assert not wav.grad[0].any() and not wav.grad[2].any(), "an utterance's output depends on its neighbours"
    assert not wav.grad[1, 2500:].any(), "an utterance's output depends on its padding"
    assert wav.grad[1, :400].abs().max() > 0
    family = type(model).__module__.rpartition(".")[2]
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert name in UNREACHED.get(family, ()), name
            continue
        assert parameter.grad.isfinite().all(), name


def test_gradients_survive_nan_in_the_padding_and_an_empty_utterance(model: nn.Module) -> None:
    kept = (3000, 0, 399, 2500)
    final, _ = model(waves(kept), torch.tensor(kept))
    final.square().sum().backward() if final.requires_grad else None
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    assert final.isfinite().all()


def test_training_mode_runs_and_pads_without_effect(model: nn.Module) -> None:
    """Statistics of a batch norm are those of real frames, too."""
    values: list[Any] = []
    for extra in (0, 3210):
        model.load_state_dict(model.state_dict())
        wav = waves((3000, 4000), extra=extra)
        with torch.no_grad():
            values.append(model.train()(wav, torch.tensor([3000, 4000]))[0])
    torch.testing.assert_close(values[0], values[1][:, : values[0].shape[1]], rtol=1e-4, atol=1e-4)
