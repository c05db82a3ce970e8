"""Sequences drawn from a decoder: as likely as it says, each from its own seed, never longer than its bound."""

from collections import Counter

import pytest
import torch

from speechssl.decoders.sampling import Sampling, sample
from speechssl.decoders.search import Search
from speechssl.decoders.token_scorers import decode
from speechssl.decoders.transformer import Config, Model
from speechssl.errors import ConfigError


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model(Config(3, dim=8, ffn_dim=8, num_layers=1, num_heads=2, tied=False), 4).eval()


def draw(model: Model, count: int, settings: Sampling, limit: int = 2, first: int = 0) -> Counter[tuple[int, ...]]:
    frames = torch.ones(count, 2, 4)
    found = sample(model, frames, torch.full((count,), 2), torch.full((count,), limit), range(first, first + count),
                   settings)  # fmt: skip
    return Counter((*one.tokens, *([3] if one.ended else [])) for one in found)


def probabilities(model: Model, temperature: float) -> dict[tuple[int, ...], float]:
    """Of all sequences of at most two tokens, the end counted, token by token."""
    frames, found = torch.ones(1, 2, 4), {}
    first = (model(torch.tensor([[3]]), frames)[0, -1] / temperature).softmax(0)
    for token in range(4):
        if token == 3:
            found[(3,)] = float(first[3])
            continue
        second = (model(torch.tensor([[3, token]]), frames)[0, -1] / temperature).softmax(0)
        found |= {(token, other): float(first[token] * second[other]) for other in range(4)}
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_sequences_are_as_likely_as_the_decoder_holds_them(model: Model, temperature: float) -> None:
    count, wanted = 4000, probabilities(model, temperature)
    found = draw(model, count, Sampling(temperature))
    assert (
        max(wanted.values()) < 0.9 and set(found) <= set(wanted) and sum(wanted.values()) == pytest.approx(1, abs=1e-5)
    )
    for tokens, share in wanted.items():
        assert abs(found[tokens] / count - share) < 5 * (share * (1 - share) / count) ** 0.5 + 1e-3, tokens


def test_the_likeliest_symbol_alone_is_a_greedy_search(model: Model) -> None:
    torch.manual_seed(1)
    frames, lengths = torch.randn(6, 5, 4), torch.tensor([5, 3, 2, 5, 1, 4])
    found = sample(model, frames, lengths, torch.full((6,), 7), range(6), Sampling(top=1))
    greedy = decode(model, frames, lengths, Search(beam=1, max_tokens=7))
    assert [one.tokens for one in found] == [best[0].tokens for best in greedy]
    for one, best in zip(found, greedy, strict=True):
        assert one.log_prob == pytest.approx(best[0].log_prob, abs=1e-4) and one.ended == best[0].ended


def test_what_is_drawn_comes_from_the_seed_whatever_the_neighbours_and_keeps_its_bound(model: Model) -> None:
    frames, lengths = torch.ones(4, 2, 4), torch.full((4,), 2)
    limits = torch.tensor([1, 9, 3, 5])
    together = sample(model, frames, lengths, limits, [7, 8, 9, 8], Sampling())
    for row, seed in enumerate((7, 8, 9, 8)):
        part = slice(row, row + 1)
        (alone,) = sample(model, frames[part], lengths[part], limits[part], [seed], Sampling())
        assert (alone.tokens, alone.ended) == (together[row].tokens, together[row].ended)
        assert len(alone.tokens) + alone.ended <= int(limits[row])
    assert sample(model, frames[:0], lengths[:0], limits[:0], [], Sampling()) == []
    assert draw(model, 50, Sampling()) != draw(model, 50, Sampling(), first=50)


def test_settings_that_draw_nothing_are_refused() -> None:
    for settings in ({"temperature": 0.0}, {"top": -1}, {"temperature": float("nan")}):
        with pytest.raises(ConfigError, match="temperature > 0"):
            Sampling(**settings)
