"""SEW-D's disentangled scores by definition, and its buckets and single position terms against `transformers`."""

from dataclasses import replace

import pytest
import torch
from transformers.models.sew_d.modeling_sew_d import make_log_bucket_position

from speechssl.encoders.sew_d import Config
from speechssl.errors import ConfigError
from speechssl.nn.disentangled import DisentangledAttention, log_buckets, relative_rows
from tests.encoders.families import SEW_D
from tests.encoders.parity import check_single
from tests.encoders.squeezed import sew_d_pair

ONE_WAY = {  # sqrt(2 * 8) = 4: again an exact scale
    "c2p": replace(SEW_D, dim=32, projection=False, position_to_content=False),
    "p2c": replace(SEW_D, dim=32, projection=False, content_to_position=False, share_keys=False),
}


@pytest.mark.parametrize("name", sorted(ONE_WAY))
def test_one_position_term_alone_equals_transformers(name: str) -> None:
    check_single(sew_d_pair(ONE_WAY[name], torch.float64))


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
