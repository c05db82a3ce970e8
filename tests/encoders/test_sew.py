"""The two frame rates of a squeezed encoder."""

import dataclasses

import pytest
import torch

from speechssl.encoders.sew import Model
from speechssl.errors import ConfigError
from tests.encoders.families import FAMILIES, small_pair
from tests.encoders.parity import waves

TINY = FAMILIES["sew"].small["tiny"]


@pytest.mark.parametrize("samples", [720, 1039, 1040, 1360, 8000, 8320])
@pytest.mark.parametrize("name", ["tiny", "squeeze-3"])
def test_upsampled_output_equals_transformers_including_the_zero_frames_at_its_end(name: str, samples: int) -> None:
    if name == "squeeze-3" and samples < 1040:
        samples += 320
    pair = small_pair("sew", name, torch.float64)
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
    model = Model(dataclasses.replace(TINY, squeeze=squeeze)).eval()
    assert (model.hop, model.receptive_field) == (hop, receptive_field)
    for samples in [0, 1, 399, 400, 719, 720, 1039, 1040, 1359, 1360, 1999, 2000, 5000]:
        layers, lengths = model.layers(torch.zeros(1, samples))
        expected = max(0, (samples - receptive_field) // hop + 1)
        assert layers[0].shape[1] == layers[-1].shape[1] == int(lengths[0]) == expected
        assert expected == max(0, (samples - 400) // 320 + 1) // squeeze


def test_output_of_a_padded_batch_equals_the_outputs_alone() -> None:
    model = small_pair("sew", "tiny", torch.float64).model
    wav, lengths = waves(torch.float64)
    together, frames = model(wav, lengths)
    for row, (samples, count) in enumerate(zip(lengths, frames, strict=True)):
        alone, _ = model(wav[row : row + 1, :samples])
        torch.testing.assert_close(together[row, :count], alone[0], rtol=0, atol=1e-9)
        assert not together[row, count:].any()


def test_layers_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"layers 0\.\.3"):
        Model(TINY).layers(torch.zeros(1, 2000), upto=4)
    with pytest.raises(ConfigError, match="squeeze=0"):
        Model(dataclasses.replace(TINY, squeeze=0))


def test_nothing_above_upto_is_computed() -> None:
    model = Model(TINY).eval()
    wav = torch.randn(1, 4000)
    expected = model.layers(wav)[0]
    del model.transformer.layers[1:]
    layers, _ = model.layers(wav, upto=1)
    assert len(layers) == 2 and torch.equal(layers[1], expected[1])
