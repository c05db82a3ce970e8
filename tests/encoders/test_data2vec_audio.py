"""data2vec-audio in both size classes against `transformers`' model with the same random weights."""

import pytest
import torch
from transformers import Data2VecAudioConfig, Data2VecAudioModel

from speechssl.encoders.data2vec_audio import PRESETS, Config, Model
from tests.encoders.hf import hf_config_values, hf_pair, small_presets
from tests.encoders.parity import Pair, check_gradients, check_padded, check_single

SMALL = small_presets(PRESETS)
DTYPES = [torch.float32, torch.float64]


def make_pair(config: Config, dtype: torch.dtype) -> Pair:
    values = hf_config_values(config) | {
        "conv_pos_kernel_size": config.pos_conv_kernel,
        "num_conv_pos_embeddings": config.pos_conv_depth,
    }
    return hf_pair(Model(config), Data2VecAudioModel(Data2VecAudioConfig(**values)), dtype=dtype)


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
