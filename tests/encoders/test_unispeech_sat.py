"""UniSpeech-SAT against `transformers`' UniSpeechSatModel with the same random weights."""

import pytest
import torch
from transformers import UniSpeechSatConfig, UniSpeechSatModel

from speechssl.encoders.unispeech_sat import PRESETS, Config, Model
from tests.encoders.hf import hf_config_values, hf_pair, shrink
from tests.encoders.parity import Pair, check_gradients, check_padded, check_single

SMALL = {name: shrink(PRESETS[name]) for name in ("base", "large")}
DTYPES = [torch.float32, torch.float64]


def make_pair(config: Config, dtype: torch.dtype) -> Pair:
    return hf_pair(Model(config), UniSpeechSatModel(UniSpeechSatConfig(**hf_config_values(config))), dtype=dtype)


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


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_gradients_equal_transformers(name: str, padded: bool) -> None:
    check_gradients(make_pair(SMALL[name], torch.float64), padded=padded)
