"""wav2vec 2.0 in every size class against `transformers`' model with the same random weights."""

import dataclasses

import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from speechssl.encoders.wav2vec2 import PRESETS, Config, Model
from tests.encoders.hf import hf_config_values, hf_pair, shrink, small_presets
from tests.encoders.parity import Pair, check_gradients, check_padded, check_single

SMALL = small_presets(PRESETS) | {
    "eps": dataclasses.replace(shrink(PRESETS["base"]), layer_norm_eps=1e-3),
    "odd-kernel": dataclasses.replace(shrink(PRESETS["base"]), pos_conv_kernel=7),
    "group-norm-with-bias": dataclasses.replace(shrink(PRESETS["base"]), conv_bias=True),
    "group-norm-pre-norm": dataclasses.replace(shrink(PRESETS["base"]), norm_first=True),
}
DTYPES = [torch.float32, torch.float64]


def make_pair(config: Config, dtype: torch.dtype) -> Pair:
    return hf_pair(Model(config), Wav2Vec2Model(Wav2Vec2Config(**hf_config_values(config))), dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(SMALL))
def test_all_layers_equal_transformers(name: str, dtype: torch.dtype) -> None:
    check_single(make_pair(SMALL[name], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(SMALL))
def test_all_layers_of_a_padded_batch_equal_transformers(name: str, dtype: torch.dtype) -> None:
    check_padded(make_pair(SMALL[name], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_gradients_equal_transformers(name: str, padded: bool, dtype: torch.dtype) -> None:
    check_gradients(make_pair(SMALL[name], dtype), padded=padded)


@pytest.mark.large
def test_full_size_large_equals_transformers() -> None:
    check_padded(make_pair(PRESETS["large-lv60"], torch.float32))
