"""WavLM against `transformers`' WavLMModel with the same random weights, and the bucket rule against its definition."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from transformers import WavLMConfig, WavLMModel

from speechssl.encoders.wavlm import PRESETS, Config, Model
from speechssl.errors import ConfigError
from speechssl.nn.relative_bias import RelativeTransformer, bias_rows, relative_buckets
from tests.encoders.hf import hf_config_values, hf_names, shrink
from tests.encoders.parity import (
    Outputs,
    Pair,
    check_gradients,
    check_padded,
    check_single,
    fill_from_oracle,
    randomize,
    waves,
)

# few buckets and a short reach, so that a second of audio uses every one
FEW = {"num_buckets": 24, "max_distance": 12}
SMALL = {name: dataclasses.replace(shrink(PRESETS[name]), **FEW) for name in ("base", "large")}
DTYPES = [torch.float32, torch.float64]


def make_pair(config: Config, dtype: torch.dtype) -> Pair:
    values = hf_config_values(config) | {"attn_implementation": None}
    oracle = WavLMModel(WavLMConfig(**values, num_buckets=config.num_buckets, max_bucket_distance=config.max_distance))
    oracle = oracle.to(dtype).eval()
    randomize(oracle)
    names = hf_names(config)
    names["transformer.relative_embedding.weight"] = "encoder.layers.0.attention.rel_attn_embed.weight"
    for i in range(config.num_layers):
        ours, theirs = f"transformer.layers.{i}.attention.gate", f"encoder.layers.{i}.attention.gru_rel_pos"
        names |= {f"{ours}_scale": f"{theirs}_const", f"{ours}.weight": f"{theirs}_linear.weight"}
        names[f"{ours}.bias"] = f"{theirs}_linear.bias"
    model = Model(config).to(dtype).eval()
    fill_from_oracle(model, oracle, names)

    def run(wav: Tensor, lengths: Tensor | None) -> Outputs:
        mask = None if lengths is None else (torch.arange(wav.shape[1]) < lengths.unsqueeze(1)).long()
        result = oracle(wav, attention_mask=mask, output_hidden_states=True)
        states = list(result.hidden_states)
        return [*(states[:-1] if config.norm_first else states), result.last_hidden_state]

    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    return Pair(model, oracle, run, names, masks_right=config.conv_norm == "layer", tolerance=tolerance)


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


@pytest.mark.large
def test_full_size_base_equals_transformers() -> None:
    check_padded(make_pair(PRESETS["base"], torch.float32))


def test_buckets_by_definition() -> None:
    """Half of the buckets for keys ahead; of each half, half exact and half logarithmic; the ends clamp."""
    distances = torch.arange(-1000, 1001)
    ours = relative_buckets(distances, 320, 800)
    for distance, bucket in zip(distances.tolist(), ours.tolist(), strict=True):
        size = abs(distance)
        within = bucket - 160 * (distance > 0)
        if size < 80:
            assert within == size
        else:  # float32 logarithms may put a border one distance later
            wide = 80 + math.log(size / 80) / math.log(10) * 80
            assert min(159, int(wide - 1e-4)) <= within <= min(159, int(wide + 1e-4))
    theirs = WavLMModel(WavLMConfig(num_hidden_layers=1)).encoder.layers[0].attention
    assert torch.equal(ours, theirs._relative_positions_bucket(distances))


@pytest.mark.parametrize("queries", [slice(0, 11), slice(3, 7), slice(8, 16)])
def test_bias_of_query_and_key_depends_on_their_distance(queries: slice) -> None:
    transformer = RelativeTransformer(dim=8, ffn_dim=8, num_layers=1, num_heads=2, norm_first=False, eps=1e-5,
                                      num_buckets=16, max_distance=20)  # fmt: skip
    bias = bias_rows(transformer.positions(11), queries)
    rows = range(11)[queries]
    assert bias.shape == (2, len(rows), 11)
    for row, i in enumerate(rows):
        for j in range(11):
            bucket = relative_buckets(torch.tensor([j - i]), 16, 20)
            assert torch.equal(bias[:, row, j], transformer.relative_embedding(bucket)[0])


def test_queries_in_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = make_pair(SMALL["base"], torch.float64)
    wav, lengths = waves(torch.float64)
    whole = pair.ours(wav, lengths)
    monkeypatch.setattr("speechssl.nn.relative_bias._QUERIES", 7)
    for ours, expected in zip(pair.ours(wav, lengths), whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("values", [{"num_buckets": 30}, {"num_buckets": 320, "max_distance": 80}])
def test_impossible_buckets_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="num_buckets"):
        Config(**values)
