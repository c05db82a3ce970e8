"""Decoders that say several symbols in a step: against loops over them, and what a search finds among all sequences."""

import itertools

import pytest
import torch
from torch import Tensor

from speechssl.decoders import seq2seq
from speechssl.decoders.search import Search
from speechssl.decoders.seq2seq import DecoderShape, Task
from speechssl.decoders.token_scorers import decode
from speechssl.decoders.transformer import Config, Model, shifted, with_end
from speechssl.errors import ConfigError, DataError
from speechssl.nn.adaptor import Config as Adaptor
from speechssl.nn.positional import sinusoids
from tests.decoders.test_transformer import frames_of, model

PAIRS = Config(7, dim=16, ffn_dim=24, num_layers=2, num_heads=4, max_positions=50, stack=2, silent=3)


def slow(decoder: Model, stacks: list[list[int]], frames: Tensor) -> Tensor:
    """Scores [steps, N, V + 1 + silent] for stacks that were read, one symbol after another."""
    config, weight = decoder.config, decoder.embedding.weight
    rows = []
    for place, stack in enumerate(stacks):
        x = torch.zeros(config.dim)
        for number, symbol in enumerate(stack):
            columns = decoder.join.weight[:, number * config.dim : (number + 1) * config.dim]
            x = x + columns @ (weight[symbol] * config.dim**0.5)
        rows.append(x + sinusoids(1, config.dim, place)[0])
    x = torch.stack(rows).unsqueeze(0)
    for layer in decoder.layers:
        x = layer(x, frames)
    said = []
    for state in decoder.norm(x)[0]:
        maps = decoder.spread.weight.split(config.dim)
        said.append(torch.stack([weight @ (one @ state) for one in maps]))
    return torch.stack(said)


def test_scores_and_gradients_are_those_of_the_formula() -> None:
    decoder = model(PAIRS)
    frames, _ = frames_of(6)
    frames.requires_grad_()
    tokens = torch.tensor([[7, 7, 3, 1, 1, 4]])
    found = decoder(tokens, frames)
    expected = slow(decoder, [[7, 7], [3, 1], [1, 4]], frames).flatten(0, 1).unsqueeze(0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found.shape == (1, 6, 11)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    inputs = [frames, decoder.join.weight, decoder.spread.weight, decoder.embedding.weight]
    one = torch.autograd.grad((found * weights).sum(), inputs)
    two = torch.autograd.grad((expected * weights).sum(), inputs)
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_stacks_of_one_are_the_ordinary_decoder() -> None:
    plain, one = model(), model(Config(7, dim=16, ffn_dim=24, num_layers=2, num_heads=4, max_positions=50, stack=1))
    frames, lengths = frames_of(4, 6)
    assert plain.state_dict().keys() == one.state_dict().keys() and one.join is None
    chosen = Search(beam=3, num_best=3, max_tokens=7)
    assert decode(plain, frames, lengths, chosen) == decode(one, frames, lengths, chosen)


def test_step_by_step_equals_all_at_once() -> None:
    decoder = model(PAIRS)
    frames, lengths = frames_of(6, 3, 1)
    tokens = torch.randint(8, (3, 40), generator=torch.Generator().manual_seed(2))
    whole = decoder(tokens, frames, lengths)
    state = decoder.start(frames, lengths, width=1)
    steps = torch.cat([decoder.step(tokens[:, t : t + 2], state) for t in range(0, 40, 2)], 1)
    torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_that_covers_everything_finds_the_best_of_all_sequences(penalty: float) -> None:
    """Some end in the first place of a stack, some in the second; what is behind an end counts nothing."""
    decoder = model(Config(3, dim=8, ffn_dim=8, num_layers=1, num_heads=2, max_positions=9, stack=2, silent=1), 4)
    frames, _ = frames_of(3, dim=4)
    expected = []
    for size in range(1, 5):
        for tokens in itertools.product(range(3), repeat=size - 1):
            wanted, _ = with_end(torch.tensor([tokens], dtype=torch.int64).view(1, -1), torch.tensor([size - 1]), 3, 2)
            scores = decoder(shifted(wanted, 3, 2), frames).detach().double().log_softmax(-1)[0]
            for last in (3, *(range(3) if size == 4 else ())):
                whole = torch.tensor([*tokens, last]).unsqueeze(1)
                total = float(scores[:size].gather(1, whole).sum())
                expected.append((total / size**penalty, tuple(t for t in (*tokens, last) if t != 3)))
    expected.sort(reverse=True)
    (found,) = decode(decoder, frames, torch.tensor([3]),
                      Search(beam=130, num_best=20, max_tokens=4, length_penalty=penalty, stop="never"))  # fmt: skip
    for hypothesis, (score, tokens) in zip(found, expected[:20], strict=True):
        assert hypothesis.tokens == tokens and hypothesis.score == pytest.approx(score, abs=1e-5)
    assert {len(h.tokens) % 2 for h in found if h.ended} == {0, 1}


def test_batched_equals_one_by_one_and_the_network_runs_once_for_a_stack() -> None:
    decoder = model(Config(7, dim=16, ffn_dim=24, num_layers=2, num_heads=4, max_positions=50, stack=3))
    frames, lengths = frames_of(9, 2, 5, 1, 7)
    chosen = Search(beam=3, num_best=3, max_tokens=3, max_per_frame=1.5)
    calls = []
    decoder.norm.register_forward_hook(lambda module, inputs, output: calls.append(output.shape[:2]))
    together = decode(decoder, frames, lengths, chosen)
    longest = max(len(h.tokens) + h.ended for row in together for h in row)
    assert len(calls) <= -(-16 // 3) and longest > 3
    assert calls[0] == (5, 1) and all(before[0] >= after[0] for before, after in itertools.pairwise(calls))
    assert calls[-1][0] < 5, "utterances that are done are left out"
    for row, length in enumerate(lengths.tolist()):
        (alone,) = decode(decoder, frames[row : row + 1, :length], lengths[row : row + 1], chosen)
        assert [h.tokens for h in alone] == [h.tokens for h in together[row]]
        assert [h.score for h in alone] == pytest.approx([h.score for h in together[row]], abs=1e-5)


def test_frames_are_mapped_to_keys_and_values_once_for_all_hypotheses_and_steps() -> None:
    decoder, seen = model(), []
    for layer in decoder.layers:
        for part in (layer.cross.key, layer.cross.value):
            part.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    frames, lengths = frames_of(9, 2)
    decode(decoder, frames, lengths, Search(beam=4, max_tokens=12))
    assert seen == [(2, 9, 16)] * 4


def test_targets_are_filled_up_to_whole_stacks() -> None:
    wanted, sizes = with_end(torch.tensor([[1, 2, 3, 4], [5, 0, 0, 0]]), torch.tensor([4, 1]), 9, 2)
    assert wanted.tolist() == [[1, 2, 3, 4, 9, 9], [5, 9, 9, 9, 9, 9]] and sizes.tolist() == [5, 2]
    assert shifted(wanted, 9, 2).tolist() == [[9, 9, 1, 2, 3, 4], [9, 9, 5, 9, 9, 9]]
    assert with_end(torch.tensor([[1, 2, 3]]), torch.tensor([3]), 9, 2)[0].tolist() == [[1, 2, 3, 9]]


def test_a_task_on_the_decoders_side_sees_a_state_for_each_stack() -> None:
    task = seq2seq.Task("text", 4, side="decoder")
    shape = DecoderShape(dim=8, ffn_dim=8, num_layers=1, num_heads=2, stack=2)
    parts = seq2seq.Config(5, adaptor=Adaptor(dim=8, ffn_dim=8, num_layers=1, num_heads=2, channels=8), decoder=shape,
                           tasks=(task,))  # fmt: skip
    targets = torch.tensor([[1, 2, 3, 4], [0, 1, -1, -1]])
    frames, lengths = frames_of(9, 6)
    found = seq2seq.Model(parts, 12)(frames, lengths, targets, {"text": targets})
    log_probs, counts = found.tasks["text"]
    assert log_probs.shape == (2, 3, 5) and counts.tolist() == [3, 2]  # with the end five symbols, and three
    assert found.logits.shape == (2, 6, 6) and found.target_lengths.tolist() == [5, 3]


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"stack": 0}, {"stack": 1001}, {"silent": -1}):
        with pytest.raises(ConfigError, match="stack"):
            Config(7, **wrong)
    with pytest.raises(ConfigError, match="task one: stacks"):
        Task("one", kind="attention", decoder=DecoderShape(stack=2))
    decoder = model(PAIRS)
    with pytest.raises(ValueError, match="3 tokens are not whole stacks of 2"):
        decoder(torch.tensor([[7, 7, 1]]), frames_of(2)[0])
    with pytest.raises(DataError, match="51 stacks of 2 tokens are more than max_positions=50"):
        decoder(torch.full((1, 102), 7), frames_of(2)[0])
