"""SEW-D against `transformers`' SEWDModel with the same random weights, and the disentangled scores by definition."""

import dataclasses

import pytest
import torch
from transformers import SEWDConfig, SEWDModel
from transformers.models.sew_d.modeling_sew_d import make_log_bucket_position

from speechssl.encoders.sew_d import PRESETS, Config, Model
from speechssl.errors import ConfigError
from speechssl.nn.disentangled import DisentangledAttention, log_buckets, relative_rows
from tests.encoders.hf import hf_config_values, hf_names, shrink
from tests.encoders.parity import Pair, check_gradients, check_padded, check_single, fill_from_oracle, randomize
from tests.encoders.squeezed import SqueezedPair, hf_squeezed_names, run_squeezed

# 12 channels per head: transformers rounds the scale sqrt(3 * 12) = 6 to float32, also in float64.
# Few buckets and a short reach, so that half a second of audio goes beyond both.
_SMALL = dataclasses.replace(shrink(PRESETS["tiny"]), dim=48, num_buckets=6, max_distance=8)
SMALL = {
    "tiny": _SMALL,
    "no-projection": dataclasses.replace(_SMALL, projection=False,
                                         conv_layers=(*_SMALL.conv_layers[:-1], (48, 1, 1))),
    "rows-per-distance": dataclasses.replace(_SMALL, num_buckets=0, max_distance=4),
    "own-position-keys": dataclasses.replace(_SMALL, share_keys=False),
    "no-relative-norm": dataclasses.replace(_SMALL, relative_norm=False),
    "layer-norm": dataclasses.replace(_SMALL, conv_norm="layer", conv_bias=True),
}  # fmt: skip
ONE_WAY = {  # sqrt(2 * 8) = 4: again an exact scale
    "c2p": dataclasses.replace(_SMALL, dim=32, projection=False, position_to_content=False),
    "p2c": dataclasses.replace(_SMALL, dim=32, projection=False, content_to_position=False, share_keys=False),
}
DTYPES = [torch.float32, torch.float64]


def make_pair(config: Config, dtype: torch.dtype) -> Pair:
    types = ["p2c"] * config.position_to_content + ["c2p"] * config.content_to_position
    oracle = SEWDModel(
        SEWDConfig(
            **hf_config_values(config), squeeze_factor=config.squeeze, position_buckets=config.num_buckets or -1,
            max_position_embeddings=config.max_distance, share_att_key=config.share_keys, pos_att_type=types,
            norm_rel_ebd="layer_norm" if config.relative_norm else "none",
            feature_layer_norm_eps=config.projection_norm_eps,
        )
    )  # fmt: skip
    oracle = oracle.to(dtype).eval()
    randomize(oracle)
    names = hf_squeezed_names(hf_names(config), config.projection)
    names = {ours: theirs for ours, theirs in names.items() if not ours.startswith("transformer.")}
    names["transformer.relative_embedding.weight"] = "encoder.encoder.rel_embeddings.weight"
    pairs = [("transformer.relative_norm", "encoder.encoder.LayerNorm")] if config.relative_norm else []
    own_keys = [("pos_key", "self.pos_key_proj")] * (not config.share_keys and config.content_to_position)
    own_keys += [("pos_query", "self.pos_query_proj")] * (not config.share_keys and config.position_to_content)
    for i in range(config.num_layers):
        ours, theirs = f"transformer.layers.{i}", f"encoder.encoder.layer.{i}"
        for mine, other in [("query", "self.query_proj"), ("key", "self.key_proj"), ("value", "self.value_proj"),
                            ("out", "output.dense"), *own_keys]:  # fmt: skip
            pairs.append((f"{ours}.attention.{mine}", f"{theirs}.attention.{other}"))
        pairs += [(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm"),
                  (f"{ours}.ffn.up", f"{theirs}.intermediate.dense"), (f"{ours}.ffn.down", f"{theirs}.output.dense"),
                  (f"{ours}.ffn_norm", f"{theirs}.output.LayerNorm")]  # fmt: skip
    names |= {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in pairs for kind in ("weight", "bias")}
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


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_gradients_equal_transformers(name: str, padded: bool) -> None:
    check_gradients(make_pair(SMALL[name], torch.float64), padded=padded)


@pytest.mark.parametrize("name", sorted(ONE_WAY))
def test_one_position_term_alone_equals_transformers(name: str) -> None:
    check_single(make_pair(ONE_WAY[name], torch.float64))


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(256, 512), (6, 8), (32, 100)])
def test_buckets_equal_transformers_over_all_distances(num_buckets: int, max_distance: int) -> None:
    distances = torch.arange(-2000, 2001)
    theirs = make_log_bucket_position(distances, num_buckets, max_distance).long()
    assert torch.equal(log_buckets(distances, num_buckets, max_distance), theirs)


def test_rows_by_hand() -> None:
    """Distance query - key, clamped to the table of 4 rows, whose middle is row 2."""
    rows = relative_rows(4, 0, 2, 4, torch.device("cpu"))
    assert rows.tolist() == [[2, 1, 0, 0], [3, 2, 1, 0], [3, 3, 2, 1], [3, 3, 3, 2]]


def test_scores_by_definition() -> None:
    """Equation 4 of the paper, one query, one key, one head at a time."""
    torch.manual_seed(0)
    attention = DisentangledAttention(6, 2, num_buckets=0, max_distance=2, share_keys=True,
                                      content_to_position=True, position_to_content=True).double()  # fmt: skip
    x, table = torch.randn(1, 5, 6).double(), torch.randn(4, 6).double()
    rows = relative_rows(5, 0, 2, 4, torch.device("cpu"))
    heads = []
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        query, key, value = (layer(x)[0, :, part] for layer in (attention.query, attention.key, attention.value))
        pos_key, pos_query = attention.key(table)[:, part], attention.query(table)[:, part]
        scores = torch.zeros(5, 5).double()
        for i in range(5):
            for j in range(5):
                row = rows[i, j]
                scores[i, j] = query[i] @ key[j] + query[i] @ pos_key[row] + key[j] @ pos_query[row]
        heads.append((scores / 9**0.5).softmax(-1) @ value)
    expected = attention.out(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(x, None, table)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "values", [{"norm_first": True}, {"num_buckets": 7}, {"num_buckets": 256, "max_distance": 128}]
)
def test_impossible_settings_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"norm_first|num_buckets"):
        Config(**values)
