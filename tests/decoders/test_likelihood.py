"""Likelihoods of given symbols: what a search would add up for them, and that they are probabilities."""

import itertools

import pytest
import torch

from speechssl.decoders.likelihood import log_likelihoods
from speechssl.decoders.token_scorers import Autoregressive
from speechssl.decoders.transformer import Config
from tests.decoders.test_transformer import frames_of, model

SMALL = {"dim": 16, "ffn_dim": 24, "num_layers": 2, "num_heads": 4, "max_positions": 50}


@pytest.mark.parametrize("more", [{}, {"silent": 3}, {"stack": 2, "silent": 3}])
def test_it_is_the_sum_of_what_a_search_is_told_step_by_step(more: dict[str, int]) -> None:
    decoder = model(Config(7, **SMALL, **more))
    frames, lengths = frames_of(6, 4, 5, 5)
    targets = [[3, 1, 1, 4, 6], [], [0], [5, 2]]
    padded = torch.zeros(4, 5, dtype=torch.int64)
    wanted = []
    for row, target in enumerate(targets):
        padded[row, : len(target)] = torch.tensor(target, dtype=torch.int64)
        told = Autoregressive(decoder, frames[row : row + 1, : lengths[row]], lengths[row : row + 1], 1)
        total, read = 0.0, decoder.end
        for symbol in [*target, decoder.end]:
            total += told.step(torch.tensor([[read]]))[0, 0, symbol].item()
            told.follow(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[symbol]]))
            read = symbol
        wanted.append(total)
    found = log_likelihoods(decoder, frames, lengths, padded, torch.tensor([5, 0, 1, 2]))
    torch.testing.assert_close(found, torch.tensor(wanted).double(), rtol=1e-5, atol=1e-4)


def test_all_sequences_up_to_a_length_and_what_goes_on_have_probability_one_together() -> None:
    """Three symbols: of up to two with their ends, and all of two behind which something else comes."""
    decoder = model(Config(3, **SMALL))
    frames, lengths = frames_of(6)
    total = 0.0
    for size in range(3):
        rows = torch.tensor(list(itertools.product(range(3), repeat=size)), dtype=torch.int64).reshape(3**size, size)
        same = (frames.expand(len(rows), -1, -1), lengths.expand(len(rows)), rows, torch.full((len(rows),), size))
        total += float(log_likelihoods(decoder, *same).exp().sum())
    pairs = torch.tensor(list(itertools.product(range(3), repeat=2)))
    read = torch.cat([torch.full((9, 1), 3), pairs], 1)
    with torch.no_grad():
        said = decoder(read, frames.expand(9, -1, -1)).double().log_softmax(-1)
    begun = said[:, 0].gather(1, pairs[:, :1]) + said[:, 1].gather(1, pairs[:, 1:])
    going_on = float((begun.squeeze(1).exp() * (1 - said[:, 2, 3].exp())).sum())
    assert total + going_on == pytest.approx(1.0, abs=1e-5)
