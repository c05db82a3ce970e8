"""Beam search: transformers' hypotheses and scores, and the best there are where the beam covers everything."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechssl.decoders.search import Hypothesis, Search, search
from speechssl.decoders.token_scorers import Autoregressive, decode
from speechssl.decoders.transformer import Config, Model
from speechssl.errors import ConfigError
from tests.decoders.hf import speech_to_text
from tests.decoders.test_transformer import frames_of, model

STOPS: dict[str, Any] = {"first": True, "bound": False, "never": "never"}


@pytest.fixture(scope="module")
def pair() -> tuple[torch.nn.Module, Model]:
    return speech_to_text(9, seed=8)


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("others", [
    {}, {"length_penalty": 0.0}, {"length_penalty": 2.0}, {"length_penalty": -1.0}, {"min_tokens": 4},
    {"no_repeat": 2}, {"beam": 2, "max_tokens": 4}, {"beam": 7, "no_repeat": 2, "min_tokens": 3},
], ids=str)  # fmt: skip
def test_hypotheses_and_scores_equal_those_of_transformers(
    pair: tuple[Any, Model], stop: Any, others: dict[str, Any]
) -> None:
    from transformers.modeling_outputs import BaseModelOutput

    theirs, ours = pair
    chosen = Search(**{"beam": 4, "max_tokens": 12, "stop": stop, **others, "num_best": others.get("beam", 4)})
    frames = 3 * torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        found = theirs.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=frames), num_beams=chosen.beam, do_sample=False,
            num_return_sequences=chosen.beam, max_new_tokens=chosen.max_tokens, early_stopping=STOPS[chosen.stop],
            length_penalty=chosen.length_penalty, min_new_tokens=chosen.min_tokens or None,
            no_repeat_ngram_size=chosen.no_repeat or None, output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
    own = decode(ours, frames, torch.full((3,), 5), chosen)
    flat = [hypothesis for row in own for hypothesis in row]
    assert len(flat) == len(found.sequences)
    for hypothesis, tokens, score in zip(flat, found.sequences, found.sequences_scores, strict=True):
        expected = [t for t in tokens.tolist()[1:] if t < 9]
        assert list(hypothesis.tokens) == expected
        assert hypothesis.score == pytest.approx(float(score), rel=1e-5, abs=2e-5)


def all_sequences(decoder: Model, frames: Tensor, most: int, penalty: float) -> list[tuple[float, tuple[int, ...]]]:
    """Every sequence that ends within `most` tokens, and every one cut there, scored as a whole; best first."""
    end, found = decoder.end, []
    for size in range(1, most + 1):
        for tokens in itertools.product(range(end), repeat=size - 1):
            log_probs = decoder(torch.tensor([[end, *tokens]]), frames).detach().double().log_softmax(-1)[0]
            for last in (end, *(range(end) if size == most else ())):
                whole = [*tokens, last]
                total = float(log_probs.gather(1, torch.tensor(whole).unsqueeze(1)).sum())
                found.append((total / size**penalty, tuple(t for t in whole if t != end)))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
def test_a_beam_that_covers_everything_finds_the_best(penalty: float) -> None:
    decoder = model(Config(3, dim=8, ffn_dim=8, num_layers=1, num_heads=2, max_positions=9), 4)
    frames, _ = frames_of(3, dim=4)
    expected = all_sequences(decoder, frames, 4, penalty)
    (found,) = decode(decoder, frames, torch.tensor([3]),
                      Search(beam=130, num_best=20, max_tokens=4, length_penalty=penalty, stop="never"))  # fmt: skip
    for hypothesis, (score, tokens) in zip(found, expected[:20], strict=True):
        assert hypothesis.tokens == tokens and hypothesis.score == pytest.approx(score, abs=1e-5)


def test_batched_equals_one_by_one() -> None:
    decoder = model()
    frames, lengths = frames_of(9, 2, 5, 1, 7)
    chosen = Search(beam=3, num_best=3, max_tokens=3, max_per_frame=1.5)
    together = decode(decoder, frames, lengths, chosen)
    for row, length in enumerate(lengths.tolist()):
        (alone,) = decode(decoder, frames[row : row + 1, :length], lengths[row : row + 1], chosen)
        assert [h.tokens for h in alone] == [h.tokens for h in together[row]]
        assert [h.score for h in alone] == pytest.approx([h.score for h in together[row]], abs=1e-5)
        assert all(len(h.tokens) + h.ended <= 3 + 1.5 * length for h in alone)


def test_a_beam_of_one_is_greedy() -> None:
    decoder = model()
    frames, lengths = frames_of(4, 6)
    found = decode(decoder, frames, lengths, Search(beam=1, max_tokens=9))
    for row, length in enumerate(lengths.tolist()):
        tokens, total = [7], 0.0
        while len(tokens) < 10 and (len(tokens) == 1 or tokens[-1] != 7):
            best = (
                decoder(torch.tensor([tokens]), frames[row : row + 1, :length])[0, -1].detach().log_softmax(-1).max(-1)
            )
            tokens.append(int(best.indices))
            total += float(best.values)
        assert found[row][0].tokens == tuple(t for t in tokens if t != 7)
        assert found[row][0].log_prob == pytest.approx(total, abs=1e-5)
        assert found[row][0].score == pytest.approx(total / (len(tokens) - 1), abs=1e-5)


class Table:
    """A scorer whose probabilities depend on the last token alone: [V + 1, V + 1]."""

    def __init__(self, table: Tensor, batch: int) -> None:
        self.table, self.calls = table, 0

    def step(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        return self.table[tokens].log()

    def follow(self, parents: Tensor, tokens: Tensor) -> None:
        pass

    def keep(self, rows: Tensor) -> None:
        pass


def test_a_beam_by_hand() -> None:
    """From the start a .6, b .4; after a: a .4, end .6; after b: end 1. Greedy says a (.36), the best is b (.4)."""
    table = torch.tensor([[0.4, 0.0, 0.6], [0.0, 0.0, 1.0], [0.6, 0.4, 0.0]])
    chosen = Search(beam=2, num_best=2, max_tokens=3, length_penalty=0.0)
    (found,) = search([Table(table, 1)], [1.0], torch.tensor([0]), chosen, 2)
    assert [h.tokens for h in found] == [(1,), (0,)]
    assert [h.log_prob for h in found] == pytest.approx([math.log(0.4), math.log(0.36)])
    assert all(h.ended and h.score == h.log_prob for h in found)
    (cut,) = search([Table(table, 1)], [1.0], torch.tensor([0]), Search(beam=1, max_tokens=1), 2)
    assert cut == [Hypothesis((0,), pytest.approx(math.log(0.6)), pytest.approx(math.log(0.6)), False)]


def test_nothing_is_stepped_after_the_last_utterance_is_done() -> None:
    scorer = Table(torch.tensor([[0.1, 0.9], [0.9, 0.1]]), 1)
    search([scorer], [1.0], torch.tensor([0, 0]), Search(beam=1, max_tokens=50, stop="first"), 1)
    assert scorer.calls == 2, "a, end"


def test_where_fewer_hypotheses_exist_fewer_are_given() -> None:
    table = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # a, then the end, and nothing else
    (found,) = search([Table(table, 1)], [1.0], torch.tensor([3]), Search(beam=4, num_best=4, max_tokens=9), 1)
    assert [h.tokens for h in found] == [(0,)] and found[0].ended
    assert search([Table(table, 0)], [1.0], torch.zeros(0, dtype=torch.int64), Search(), 1) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 4), st.integers(1, 8), st.floats(-1, 2))
def test_limits_hold(seed: int, beam: int, no_repeat: int, most: int, penalty: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(4, 4, generator=generator)
    least = seed % (most + 1)
    chosen = Search(beam=beam, num_best=beam, max_tokens=most, min_tokens=least, no_repeat=no_repeat,
                    length_penalty=penalty)  # fmt: skip
    (found,) = search([Table(table / table.sum(1, keepdim=True), 1)], [1.0], torch.tensor([0]), chosen, 3)
    assert len({h.tokens for h in found}) == len(found) or not all(h.ended for h in found)
    assert sorted((h.score for h in found), reverse=True) == [h.score for h in found]
    for h in found:
        size = len(h.tokens) + h.ended
        assert size <= most and (len(h.tokens) >= least or not h.ended) and h.score == pytest.approx(
            h.log_prob / size**penalty, abs=1e-4)  # fmt: skip
        strings = [h.tokens[i : i + no_repeat] for i in range(len(h.tokens) - no_repeat + 1)] if no_repeat else []
        assert len(set(strings)) == len(strings)


def test_a_language_model_searches_without_frames() -> None:
    decoder = model(memory_dim=0)
    chosen = Search(beam=3, max_tokens=6)
    scorer = Autoregressive(decoder, None, torch.zeros(2, dtype=torch.int64), 3)
    one, two = search([scorer], [1.0], torch.zeros(2, dtype=torch.int64), chosen, decoder.end)
    assert one == two and len(one) == 1


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"beam": 0}, {"num_best": 9}, {"max_tokens": 0}, {"min_tokens": -1}, {"max_per_frame": -1.0}):
        with pytest.raises(ConfigError):
            Search(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ctc_weight"):
        decode(model(), *frames_of(3), Search(), ctc_weight=1.5)
