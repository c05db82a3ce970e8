"""Position prediction against a slow oracle, and that positions come from content alone."""

import math

import pytest
import torch

from speechssl import encoders, objectives
from speechssl.data.batch import Batch
from speechssl.errors import ConfigError, DataError
from speechssl.objectives.mp3 import context_mask, position_loss, within
from tests.objectives.tiny import ENCODER, RELATIVE, SQUEEZED


def test_the_loss_and_its_gradients_are_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    positions, lengths = torch.tensor([0, 2, 1, 5, 3]), torch.tensor([3, 3, 2, 6, 5])
    slow, fast = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    total = slow.new_zeros(())
    for row, place, length in zip(slow, positions.tolist(), lengths.tolist(), strict=True):
        total = total - row[place] + sum(row[k].exp() for k in range(length)).log()  # type: ignore[union-attr]
    loss = position_loss(within(fast, lengths), positions)
    total.backward(), loss.backward()
    assert float(loss.detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-4, atol=1e-6)


def test_by_hand() -> None:
    """Nothing known about 4 places costs ln 4, whatever is said of places that do not exist."""
    logits = torch.tensor([[0.0, 0, 0, 0, 100]])
    assert float(position_loss(within(logits, torch.tensor([4])), torch.tensor([2]))) == pytest.approx(math.log(4))


def test_places_behind_the_end_are_never_told() -> None:
    objective = objectives.build("mp3", encoders.build("wav2vec2", ENCODER), {})
    with torch.no_grad():
        objective.prediction.bias[500:] = 100
    outcome = objective(Batch(torch.randn(1, 9000), torch.tensor([9000]), torch.tensor([1]), ("a",)))
    assert outcome.codes is not None and int(outcome.codes.max()) < 27


def test_context_is_a_share_of_the_frames() -> None:
    mask = context_mask(torch.tensor([40, 1, 0, 21]), 44, 0.75, torch.tensor([1, 2, 3, 4]))
    assert mask.sum(1).tolist() == [10, 1, 0, 5] and not mask[0, 40:].any() and not mask[3, 21:].any()
    many = context_mask(torch.full((2000,), 20), 20, 0.75, torch.arange(2000))
    assert many.float().mean(0) == pytest.approx(torch.full((20,), 0.25), abs=0.04)


def test_frames_in_another_order_get_the_same_output_in_that_order() -> None:
    """The transformer as it is used here is blind to positions, and to frames that are not context."""
    encoder = encoders.build("wav2vec2", ENCODER)
    objectives.build("mp3", encoder, {})
    encoder.eval()
    x = torch.randn(1, 12, 32, generator=torch.Generator().manual_seed(0))
    context = context_mask(torch.tensor([12]), 12, 0.5, torch.tensor([1]))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    plain = encoder.transformer(x, context)
    torch.testing.assert_close(plain[:, order], encoder.transformer(x[:, order], context[:, order]))
    other = torch.where(context.unsqueeze(-1), x, x + 1)
    assert torch.allclose(encoder.transformer(other, context)[context], plain[context], atol=1e-5)


def test_the_encoder_that_is_kept_adds_no_positions() -> None:
    encoder = encoders.build("wav2vec2", ENCODER)
    objectives.build("mp3", encoder, {})
    encoder.eval()
    wav = torch.randn(1, 4000)
    x, _ = encoder.frontend(wav)
    torch.testing.assert_close(encoder(wav)[0], encoder.transformer(x, None))
    assert not any(p.requires_grad for p in encoder.pos_conv.parameters())


def test_what_knows_positions_otherwise_and_what_is_too_long_is_refused() -> None:
    for family, values in (("wavlm", RELATIVE), ("sew", SQUEEZED)):
        with pytest.raises(ConfigError, match="positions"):
            objectives.build("mp3", encoders.build(family, values), {})
    objective = objectives.build("mp3", encoders.build("wav2vec2", ENCODER), {"max_positions": 10})
    batch = Batch(torch.randn(1, 9000), torch.tensor([9000]), torch.tensor([1]), ("a",))
    with pytest.raises(DataError, match="max_positions"):
        objective(batch)
