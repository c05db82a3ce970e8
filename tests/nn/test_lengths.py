"""Lengths and masks: hand-computed values, and the collapse of nested floors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechssl.nn.lengths import (
    check_lengths,
    frame_lengths,
    hop,
    receptive_field,
    valid_mask,
    valid_or_none,
    zero_padding,
)
from speechssl.nn.speech_encoder import WAV2VEC2_CONV


def test_wav2vec2_sees_400_samples_every_320() -> None:
    assert (receptive_field(WAV2VEC2_CONV), hop(WAV2VEC2_CONV)) == (400, 320)


def test_frame_lengths_by_hand() -> None:
    samples = torch.tensor([[0, 399, 400], [719, 720, 16_000]], dtype=torch.int32)
    assert frame_lengths(samples, kernel=400, stride=320).tolist() == [[0, 0, 1], [1, 2, 49]]


@settings(max_examples=200, deadline=None)
@given(
    layers=st.lists(st.tuples(st.just(1), st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=7),
    samples=st.integers(0, 100_000),
)
def test_one_floor_equals_the_floors_of_every_layer(layers: list[tuple[int, int, int]], samples: int) -> None:
    expected = samples
    for _, kernel, stride in layers:
        expected = 0 if expected < kernel else (expected - kernel) // stride + 1
    count = frame_lengths(torch.tensor(samples), kernel=receptive_field(layers), stride=hop(layers))
    assert count.item() == expected


def test_masks_by_hand() -> None:
    lengths = torch.tensor([0, 2, 3])
    expected = [[False, False, False], [True, True, False], [True, True, True]]
    assert valid_mask(lengths, 3).tolist() == expected
    assert valid_or_none(torch.tensor([3, 3]), 3) is None
    mask = valid_or_none(lengths, 3)
    assert mask is not None and mask.tolist() == expected


def test_zero_padding_removes_nan_of_values_and_gradients() -> None:
    x = torch.tensor([[[1.0], [float("nan")]]], requires_grad=True)
    y = zero_padding(x, torch.tensor([[True, False]]))
    assert y.tolist() == [[[1.0], [0.0]]]
    (y * y).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[[2.0], [0.0]]]


def test_check_lengths_names_the_value() -> None:
    assert check_lengths(torch.tensor([0, 3], dtype=torch.int32), 2, 3).dtype == torch.int64
    with pytest.raises(ValueError, match=r"0\.\.3.*\[0, 4\]"):
        check_lengths(torch.tensor([0, 4]), 2, 3)
