"""HuBERT in every size class against `transformers`' model with the same random weights."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import HubertConfig, HubertModel

from speechssl.encoders.hubert import PRESETS, Config, Model
from tests.encoders.hf import hf_config_values, hf_pair, shrink, small_presets
from tests.encoders.parity import Pair, check_gradients, check_padded, check_single

SMALL = small_presets(PRESETS) | {
    "no-projection-norm": dataclasses.replace(shrink(PRESETS["base"]), projection_norm=False),  # DistilHuBERT
    "large-conv-bias": dataclasses.replace(shrink(PRESETS["large"]), conv_bias=True),  # as Hugging Face stores it
}
DTYPES = [torch.float32, torch.float64]


def make_pair(config: Config, dtype: torch.dtype) -> Pair:
    values = hf_config_values(config) | {
        "conv_pos_batch_norm": config.pos_conv_norm == "batch",
        "feat_proj_layer_norm": config.projection_norm,
    }
    return hf_pair(Model(config), HubertModel(HubertConfig(**values)), dtype=dtype)


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
def test_full_size_base_equals_transformers() -> None:
    check_padded(make_pair(PRESETS["base"], torch.float32))


def test_frame_count_is_that_of_the_released_features_and_units(shared: Path) -> None:
    """Layer 9 of the released base model and its 500 units, as the authors' code wrote them for one recording."""
    folder = shared / "golden" / "hubert_sample"
    samples = soundfile.info(folder / "6313-76958-0021.flac").frames
    with torch.device("meta"):
        model = Model(PRESETS["base"])
    frames, dim = np.load(folder / "sample.base.L9.npy", mmap_mode="r").shape
    units = (folder / "sample.base.L9.km500.km").read_text().split()
    assert int(model.frame_lengths(torch.tensor(samples))) == frames == len(units)
    assert model.dim == dim
