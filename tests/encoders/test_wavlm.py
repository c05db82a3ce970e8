"""WavLM's bucket rule against its definition, and its bias in parts."""

import math

import pytest
import torch
from transformers import WavLMConfig, WavLMModel

from speechssl.encoders.wavlm import Config
from speechssl.errors import ConfigError
from speechssl.nn.relative_bias import RelativeTransformer, bias_rows, relative_buckets
from tests.encoders.families import small_pair
from tests.encoders.parity import waves


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
    pair = small_pair("wavlm", "base", torch.float64)
    wav, lengths = waves(torch.float64)
    whole = pair.ours(wav, lengths)
    monkeypatch.setattr("speechssl.nn.relative_bias._QUERIES", 7)
    for ours, expected in zip(pair.ours(wav, lengths), whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("values", [{"num_buckets": 30}, {"num_buckets": 320, "max_distance": 80}])
def test_impossible_buckets_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="num_buckets"):
        Config(**values)
