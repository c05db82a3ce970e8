"""SEW against `transformers`' SEWModel with the same random weights, and the two frame rates of a squeezed encoder."""

import dataclasses

import pytest
import torch
from torch import Tensor
from transformers import SEWConfig, SEWModel

from speechssl.encoders.sew import PRESETS, Config, Model
from speechssl.errors import ConfigError
from tests.encoders.hf import hf_config_values, hf_names, shrink
from tests.encoders.parity import Pair, check_gradients, check_padded, check_single, fill_from_oracle, randomize, waves
from tests.encoders.squeezed import SqueezedPair, hf_squeezed_names, run_squeezed

SMALL = {
    "tiny": shrink(PRESETS["tiny"]),
    "small": shrink(PRESETS["small"]),
    "even-kernel": dataclasses.replace(shrink(PRESETS["tiny"]), pos_conv_kernel=16),
    "squeeze-3": dataclasses.replace(shrink(PRESETS["tiny"]), squeeze=3),
    "squeeze-1": dataclasses.replace(shrink(PRESETS["tiny"]), squeeze=1),
    "layer-norm": dataclasses.replace(shrink(PRESETS["small"]), conv_norm="layer", conv_bias=True),
}
DTYPES = [torch.float32, torch.float64]


def make_pair(config: Config, dtype: torch.dtype) -> Pair:
    oracle = SEWModel(SEWConfig(**hf_config_values(config), squeeze_factor=config.squeeze))
    oracle = oracle.to(dtype).eval()
    randomize(oracle)
    names = hf_squeezed_names(hf_names(config), config.projection)
    model = Model(config).to(dtype).eval()
    fill_from_oracle(model, oracle, names)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    return SqueezedPair(model, oracle, run_squeezed(oracle, model), names, config.conv_norm == "layer", tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(SMALL))
def test_all_layers_equal_transformers(name: str, dtype: torch.dtype) -> None:
    check_single(make_pair(SMALL[name], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(SMALL))
def test_padded_layers_equal_transformers_alone_and_in_its_batch_where_that_has_no_group_norm(
    name: str, dtype: torch.dtype
) -> None:
    check_padded(make_pair(SMALL[name], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_gradients_equal_transformers(name: str, padded: bool, dtype: torch.dtype) -> None:
    check_gradients(make_pair(SMALL[name], dtype), padded=padded)


@pytest.mark.parametrize("samples", [720, 1039, 1040, 1360, 8000, 8320])
@pytest.mark.parametrize("name", ["tiny", "squeeze-3"])
def test_upsampled_output_equals_transformers_including_the_zero_frames_at_its_end(name: str, samples: int) -> None:
    if name == "squeeze-3" and samples < 1040:
        samples += 320
    pair = make_pair(SMALL[name], torch.float64)
    wav = waves(torch.float64, (samples,))[0]
    ours, lengths = pair.model(wav)
    theirs = pair.oracle(wav).last_hidden_state
    assert ours.shape[1] == int(lengths[0]) == (samples - 400) // 320 + 1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    assert not ours[:, int(lengths[0]) // pair.model.squeeze * pair.model.squeeze :].any()


@pytest.mark.parametrize(("squeeze", "hop", "receptive_field"), [(1, 320, 400), (2, 640, 720), (3, 960, 1040)])
def test_frames_of_the_layers_follow_the_rule_with_hop_and_receptive_field(
    squeeze: int, hop: int, receptive_field: int
) -> None:
    model = Model(dataclasses.replace(SMALL["tiny"], squeeze=squeeze)).eval()
    assert (model.hop, model.receptive_field) == (hop, receptive_field)
    for samples in [0, 1, 399, 400, 719, 720, 1039, 1040, 1359, 1360, 1999, 2000, 5000]:
        layers, lengths = model.layers(torch.zeros(1, samples))
        expected = max(0, (samples - receptive_field) // hop + 1)
        assert layers[0].shape[1] == layers[-1].shape[1] == int(lengths[0]) == expected
        assert expected == max(0, (samples - 400) // 320 + 1) // squeeze


def test_output_of_a_padded_batch_equals_the_outputs_alone() -> None:
    model = make_pair(SMALL["tiny"], torch.float64).model
    wav, lengths = waves(torch.float64)
    together, frames = model(wav, lengths)
    for row, (samples, count) in enumerate(zip(lengths, frames, strict=True)):
        alone, _ = model(wav[row : row + 1, :samples])
        torch.testing.assert_close(together[row, :count], alone[0], rtol=0, atol=1e-9)
        assert not together[row, count:].any()


def test_layers_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"layers 0\.\.3"):
        Model(SMALL["tiny"]).layers(torch.zeros(1, 2000), upto=4)
    with pytest.raises(ConfigError, match="squeeze=0"):
        Model(dataclasses.replace(SMALL["tiny"], squeeze=0))


def test_nothing_above_upto_is_computed() -> None:
    model = Model(SMALL["tiny"]).eval()
    wav: Tensor = torch.randn(1, 4000)
    expected = model.layers(wav)[0]
    del model.transformer.layers[1:]
    layers, _ = model.layers(wav, upto=1)
    assert len(layers) == 2 and torch.equal(layers[1], expected[1])
