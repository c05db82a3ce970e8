"""Subsampling, blocks behind it, and units as an input."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.errors import ConfigError, DataError
from speechssl.nn.adaptor import Adaptor, Config
from speechssl.nn.masking import SpanMask
from speechssl.nn.subsample import Subsample
from speechssl.nn.unit_input import Augmentation, UnitInput
from tests.encoders.parity import randomize

OFF = SpanMask(share=0.0, min_spans=0)
KINDS: list[dict[str, Any]] = [
    {"kind": "transformer"}, {"kind": "conformer", "conv_kernel": 5},
    {"kind": "zipformer", "conv_kernel": 3, "num_blocks": (1, 1), "factors": (1, 2)}, {"strides": ()},
    {"num_layers": 0, "strides": (2, 2)},
]  # fmt: skip


def adaptor(**values: Any) -> Adaptor:
    torch.manual_seed(0)
    made = Adaptor(Config(**{"channels": 10, "dim": 12, "ffn_dim": 16, "num_layers": 2, "num_heads": 3, **values}), 6)
    randomize(made)
    return made.eval()


def test_a_strided_convolution_by_hand() -> None:
    layer = Subsample(1, 1, strides=(2,), kernel=3)
    with torch.no_grad():
        layer.layers[0].weight.copy_(torch.tensor([[[1.0, 10.0, 100.0]], [[0.0, 0.0, 0.0]]]))
        layer.layers[0].bias.copy_(torch.tensor([0.0, 1e9]))  # the gate is open
    x, lengths = layer(torch.tensor([[[1.0], [2.0], [3.0], [9.0]]]), torch.tensor([3]))
    assert x[0, :, 0].tolist() == [210, 32] and lengths.tolist() == [2]


def test_it_equals_the_subsampler_of_transformers() -> None:
    from transformers import Speech2TextConfig
    from transformers.models.speech_to_text.modeling_speech_to_text import Conv1dSubsampler

    torch.manual_seed(0)
    theirs = Conv1dSubsampler(Speech2TextConfig(input_feat_per_channel=6, conv_channels=10, d_model=12,
                                                conv_kernel_sizes=[5, 5], num_conv_layers=2))  # fmt: skip
    ours = Subsample(6, 12, strides=(2, 2), kernel=5, channels=10)
    ours.load_state_dict({key.replace("conv_layers", "layers"): value for key, value in theirs.state_dict().items()})
    x = torch.randn(2, 13, 6)
    found, lengths = ours(x, torch.tensor([13, 13]))
    torch.testing.assert_close(found, theirs(x))
    assert lengths.tolist() == [found.shape[1]] * 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.lists(st.integers(1, 3), max_size=3))
def test_counts_are_those_of_the_frames(length: int, strides: list[int]) -> None:
    layer = Subsample(2, 4, strides=strides, kernel=3, channels=4)
    x, lengths = layer(torch.randn(1, length, 2), torch.tensor([length]))
    assert x.shape == (1, int(lengths[0]), 4) == (1, math.ceil(length / layer.factor), 4) or len(strides) > 1
    assert int(layer.lengths(torch.tensor(length))) == x.shape[1]


@pytest.mark.parametrize("values", KINDS, ids=str)
def test_batched_equals_one_by_one_and_padding_changes_nothing(values: dict[str, Any]) -> None:
    made, lengths = adaptor(**values), (11, 6, 1)
    x = torch.randn(3, 11, 6, generator=torch.Generator().manual_seed(2))
    valid = torch.arange(11) < torch.tensor(lengths).unsqueeze(1)
    with torch.no_grad():
        states, counts = made.states(torch.where(valid.unsqueeze(-1), x, float("nan")), torch.tensor(lengths))
        assert len(states) == made.num_layers + 2
        for row, length in enumerate(lengths):
            alone, count = made.states(x[row : row + 1, :length], torch.tensor([length]))
            for one, state in zip(alone, states, strict=True):
                torch.testing.assert_close(state[row, : int(count)], one[0], rtol=1e-4, atol=1e-5)
                assert not state[row, int(count) :].any() and counts[row] == count[0]


def test_units_of_several_streams_are_summed_and_missing_ones_are_the_mask() -> None:
    units = UnitInput((4, 3), 5, Augmentation()).eval()
    with torch.no_grad():
        units.mask.fill_(7)
    given_units = torch.tensor([[[1, 2], [3, 0], [-1, -1]]])
    found = units(given_units, torch.tensor([2]))
    expected = units.streams[0].weight[[1, 3]] + units.streams[1].weight[[2, 0]]
    torch.testing.assert_close(found[0, :2], expected)
    assert found[0, 2].tolist() == [7] * 5
    with pytest.raises(DataError, match=r"stream 1 has unit 3, and this model knows 0\.\.2"):
        units(torch.tensor([[[0, 3]]]), torch.tensor([1]))
    with pytest.raises(DataError, match="2 streams"):
        units(torch.tensor([[0]]), torch.tensor([1]))
    with pytest.raises(ConfigError):
        UnitInput((), 5, Augmentation())


def test_augmentation_happens_in_training_alone_and_by_the_utterances_seed() -> None:
    torch.manual_seed(0)
    lengths, units = torch.tensor([40, 40]), torch.arange(40).expand(2, -1) % 5
    for settings_ in (Augmentation(time=SpanMask(0.3, 4, 1)), Augmentation(OFF, SpanMask(0.5, 2, 1)),
                      Augmentation(OFF, OFF, 0.5)):  # fmt: skip
        layer = UnitInput((5,), 8, settings_)
        with torch.no_grad():
            layer.mask.fill_(9)
        plain = layer.eval()(units, lengths, torch.tensor([1, 2]))
        changed = layer.train()(units, lengths, torch.tensor([1, 2]))
        assert torch.equal(plain, F.embedding(units, layer.streams[0].weight)) and not torch.equal(plain, changed)
        assert torch.equal(changed, layer(units, lengths, torch.tensor([1, 2])))
        assert torch.equal(changed[1:], layer(units[1:], lengths[1:], torch.tensor([2])))
        assert not torch.equal(changed[0], changed[1])


def test_settings_without_effect_are_refused() -> None:
    for wrong in ({"kind": "zipformer"}, {"num_blocks": (1,), "factors": (1,)}, {"dim": 13}, {"strides": (0,)}):
        with pytest.raises(ConfigError):
            Config(**{"num_heads": 1, **wrong})
