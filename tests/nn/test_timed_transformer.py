"""A block is DiT's formula, and padding changes nothing."""

import torch
import torch.nn.functional as F

from speechssl.nn.timed_transformer import TimedBlock, TimedTransformer, time_features
from tests.encoders.parity import randomize


def test_a_block_equals_its_formula() -> None:
    block = TimedBlock(8, 12, 2).double().eval()
    randomize(block)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 8, dtype=torch.float64, generator=random)
    shared = torch.randn(2, 6, 8, dtype=torch.float64, generator=random)
    for row in range(2):
        shift1, scale1, gate1, shift2, scale2, gate2 = block.table + shared[row]
        y = x[row] + gate1 * block.attention((F.layer_norm(x[row], (8,)) * (1 + scale1) + shift1)[None])[0]
        y = y + gate2 * block.ffn(F.layer_norm(y, (8,)) * (1 + scale2) + shift2)
        torch.testing.assert_close(block(x, shared, None)[row], y, atol=1e-9, rtol=0)


def test_padding_changes_nothing_and_the_time_does() -> None:
    torch.manual_seed(0)
    model = TimedTransformer(dim=8, ffn_dim=12, num_layers=2, num_heads=2).double().eval()
    x, time = torch.randn(1, 4, 8, dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64)
    padded = F.pad(x, (0, 0, 0, 3), value=9.0)
    found = model(padded, torch.arange(7)[None] < 4, time)
    torch.testing.assert_close(found[:, :4], model(x, None, time), atol=1e-9, rtol=0)
    assert not found[:, 4:].any() and not torch.allclose(model(x, None, time + 0.1), model(x, None, time))


def test_times_far_apart_and_close_have_other_features() -> None:
    found = time_features(torch.tensor([0.0, 0.001, 1.0]), 6)
    assert found[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert (found[1] - found[0]).abs().max() > 0.1 and (found[2] - found[0]).abs().max() > 0.1
