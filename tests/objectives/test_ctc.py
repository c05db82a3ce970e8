"""CTC against all paths one by one, against a slow forward-backward in float64, and against transformers."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from speechssl import convert, encoders, objectives
from speechssl.data.batch import Batch
from speechssl.data.targets import needed_frames
from speechssl.decoders.collapse import best_path, collapse
from speechssl.errors import ConfigError, DataError
from speechssl.nn.ctc_loss import path_losses, possible
from tests.convert import oracles
from tests.objectives.test_contract import build, make_batch
from tests.objectives.tiny import ENCODER, TINY

BLANK = 0
EVEN: dict[str, Any] = {"gradient": 0.0, "dropout": 0.0, "features_dropout": 0.0}
PLAIN: dict[str, Any] = {**EVEN, "time": {"share": 0.0, "min_spans": 0}}


def written(path: tuple[int, ...]) -> tuple[int, ...]:
    """The map B of Graves et al.: repetitions, then blanks, out."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK)


def log_add(*values: float) -> float:
    top = max(values)
    return top if top == -math.inf else top + math.log(sum(math.exp(value - top) for value in values))


def slow_ctc(logits: NDArray[np.float64], target: list[int]) -> tuple[float, NDArray[np.float64]]:
    """Loss and its gradient by the logits [T, V], by eqs. (5) to (16): forward and backward variables, in logs."""
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    padded = [BLANK]
    for symbol in target:
        padded += [symbol, BLANK]
    frames, states = len(logits), len(padded)

    def walk(rows: NDArray[np.float64], labels: list[int]) -> NDArray[np.float64]:
        table = np.full((frames, states), -math.inf)
        table[0, 0] = rows[0, labels[0]]
        if states > 1:
            table[0, 1] = rows[0, labels[1]]
        for t in range(1, frames):
            for s in range(states):
                before = [table[t - 1, s]] + ([table[t - 1, s - 1]] if s else [])
                if s > 1 and labels[s] != BLANK and labels[s] != labels[s - 2]:
                    before.append(table[t - 1, s - 2])
                table[t, s] = log_add(*before) + rows[t, labels[s]]
        return table

    alpha = walk(log_probs, padded)
    beta = walk(log_probs[::-1], padded[::-1])[::-1, ::-1]
    total = log_add(*alpha[-1, -2:])
    gradient = np.exp(log_probs)
    for t in range(frames):
        for s, symbol in enumerate(padded):
            gradient[t, symbol] -= math.exp(alpha[t, s] + beta[t, s] - log_probs[t, symbol] - total)
    return -total, gradient


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.lists(st.integers(1, 2), max_size=4))
def test_the_loss_is_that_of_all_paths_one_by_one(seed: int, frames: int, target: list[int]) -> None:
    log_probs = torch.randn(frames, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).log_softmax(
        1
    )
    paths = [path for path in itertools.product(range(3), repeat=frames) if written(path) == tuple(target)]
    fits = possible(torch.tensor([frames]), torch.tensor([target]).reshape(1, -1))
    assert bool(fits) == bool(paths) == (frames >= needed_frames(target))
    found = path_losses(log_probs[None], torch.tensor([frames]), torch.tensor([target]).reshape(1, -1).long(), blank=0)
    if not paths:
        assert found.item() == math.inf
        return
    wanted = -log_add(*(sum(float(log_probs[t, symbol]) for t, symbol in enumerate(path)) for path in paths))
    assert found.item() == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize("target", [[1, 2, 3], [2, 2, 1], [3, 3, 3, 3], []])
def test_loss_and_gradient_equal_the_slow_form(target: list[int]) -> None:
    logits = 2 * torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    loss, gradient = slow_ctc(logits.numpy(), target)
    x = logits.clone().requires_grad_()
    padded = torch.tensor([[*target, -1, -1]])
    found = path_losses(x.log_softmax(-1)[None], torch.tensor([9]), padded, blank=BLANK)
    found.sum().backward()
    assert found.item() == pytest.approx(loss, abs=1e-9)
    np.testing.assert_allclose(x.grad.numpy(), gradient, atol=1e-9)


def objective(values: dict[str, Any], family: str = "hubert", encoder: dict[str, Any] | None = None) -> nn.Module:
    torch.manual_seed(0)
    return objectives.build("ctc", encoders.build(family, encoder or ENCODER), {"num_symbols": 5, **values})


@pytest.mark.parametrize(("name", "cls"), [("wav2vec2-base", hf.Wav2Vec2ForCTC), ("hubert-base", hf.HubertForCTC)])
def test_loss_equals_transformers(name: str, cls: Any, tmp_path: Path) -> None:
    """Sum and mean, with an utterance that is shorter than its text (ctc_zero_infinity there, left out here)."""
    model = oracles.make(name, model_class=cls).eval()
    found = convert.load(oracles.save(model, tmp_path)).pretrained.encoder
    vocabulary = model.config.vocab_size
    ours = objectives.build("ctc", found, {"num_symbols": vocabulary, "masking": PLAIN}).eval()
    ours.head.output.load_state_dict(model.lm_head.state_dict())
    random = torch.Generator().manual_seed(0)
    lengths = torch.tensor([9600, 16000, 1000])
    wav = torch.randn(3, 16000, generator=random) * (torch.arange(16000) < lengths[:, None])
    targets = torch.randint(1, vocabulary, (3, 7), generator=random)
    targets[0, 5:] = -1
    batch = Batch(wav, lengths, torch.zeros(3, dtype=torch.long), ("a", "b", "c"), targets=targets)
    outcome = ours(batch)
    assert outcome.count == 12 and outcome.scalars["no_path"] == pytest.approx(1 / 3)
    model.config.ctc_zero_infinity, model.config.pad_token_id = True, BLANK
    means, total = [], 0.0
    for row, length in enumerate(lengths.tolist()[:2]):  # one by one: group norm sees the padding in transformers
        one = {
            "input_values": wav[row : row + 1, :length],
            "labels": targets[row : row + 1].masked_fill(targets[row] < 0, -100),
        }
        model.config.ctc_loss_reduction = "sum"
        total += float(model(**one).loss.detach())
        model.config.ctc_loss_reduction = "mean"
        means.append(float(model(**one).loss.detach()))
    assert float(outcome.loss.detach()) == pytest.approx(total, rel=1e-4)
    assert sum(m * n for m, n in zip(means, (5, 7), strict=True)) == pytest.approx(total, rel=1e-4)


def test_the_mean_is_over_symbols_or_utterances() -> None:
    batch = make_batch(TINY["ctc"][0])
    one, other = (objective({"average": kind, "masking": PLAIN}).eval()(batch) for kind in ("token", "utterance"))
    assert one.count == int((batch.targets >= 0).sum()) and other.count == 3
    assert torch.equal(one.loss, other.loss)


def test_utterances_without_a_path_are_counted_and_change_nothing() -> None:
    model = objective({"masking": PLAIN}).eval()
    batch = make_batch(TINY["ctc"][0])
    targets = torch.cat([batch.targets, torch.full((3, 60), -1)], 1)
    targets[1] = 2  # the longest has 49 frames, and 70 equal symbols need 139
    outcome = model(replace(batch, targets=targets))
    rest = [0, 2]
    alone = model(replace(batch, wav=batch.wav[rest], lengths=batch.lengths[rest], seeds=batch.seeds[rest],
                          targets=batch.targets[rest]))  # fmt: skip
    assert outcome.scalars["no_path"] == pytest.approx(1 / 3) and outcome.count == alone.count
    torch.testing.assert_close(outcome.loss, alone.loss)
    outcome.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_encoder_is_frozen_for_so_many_updates_and_the_front_end_always() -> None:
    model = objective({"freeze_updates": 2, "masking": EVEN}).train()
    assert model.skips_parameters and not any(p.requires_grad for p in model.encoder.conv.parameters())
    batch = make_batch(TINY["ctc"][0])
    for step, thawed in ((1, False), (2, True)):
        model(batch).loss.backward()
        assert all(p.grad is None for p in model.encoder.parameters())
        assert model.head.output.weight.grad is not None
        model.after_step(step)
        again = objective({"freeze_updates": 2, "masking": EVEN}).train()
        again.load_state_dict(model.state_dict())  # a resumed training knows where it is
        again(batch).loss.backward()
        assert (again.encoder.transformer.layers[0].ffn.up.weight.grad is not None) == thawed


def test_blocks_above_the_layer_are_not_trained_and_change_nothing() -> None:
    model = objective({"head": {"layer": 1}}).eval()
    assert not any(p.requires_grad for p in model.encoder.transformer.layers[1].parameters())
    batch = make_batch(TINY["ctc"][0])
    before = model(batch).loss
    nn.init.zeros_(model.encoder.transformer.layers[1].ffn.up.weight)
    assert torch.equal(before, model(batch).loss)


def test_a_learned_mean_of_layers_begins_as_the_plain_mean() -> None:
    model = objective({"head": {"weighted": True}}).eval()
    batch = make_batch(TINY["ctc"][0])
    layers, frames = model.encoder.layers(batch.wav, batch.lengths)
    states = model.head.states(model.encoder, *model.encoder.frontend(batch.wav, batch.lengths))
    plain = model.head.output(sum(layers) / len(layers))
    torch.testing.assert_close(model.head(states, frames), plain)


def test_nothing_is_masked_in_validation_and_spans_and_channels_are_in_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = objective({"masking": {**EVEN, "channels": {"share": 0.5, "span": 4, "min_spans": 0}}})
    seen: list[Tensor] = []
    real = model.head.states
    monkeypatch.setattr(model.head, "states", lambda encoder, x, frames: seen.append(x) or real(encoder, x, frames))
    batch = make_batch(TINY["ctc"][0])
    model.eval()(batch)
    torch.testing.assert_close(seen[0], model.encoder.frontend(batch.wav, batch.lengths)[0])
    model.train()(batch)
    covered = (seen[1] == 0).all(1)
    assert covered.any() and not covered.all()
    assert (seen[1][0] == model.masked.vector).float().mean() > 0.1


def test_the_error_rate_is_that_of_greedy_decoding() -> None:
    model = objective({"masking": PLAIN}).eval()
    batch = make_batch(TINY["ctc"][0])
    states, frames = model.states(batch)
    best = best_path(model.head(states, frames), frames, BLANK)
    outcome = model(replace(batch, targets=torch.nn.utils.rnn.pad_sequence(
        [torch.tensor([*row, 1]) for row in best], batch_first=True, padding_value=-1)))  # fmt: skip
    assert outcome.scalars["token_error_rate"] == pytest.approx(3 / (3 + sum(map(len, best))))
    assert "token_error_rate" not in model.train()(batch).scalars


@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=1, max_size=3), st.integers(0, 6))
def test_collapsing_is_that_of_the_paper(rows: list[list[int]], length: int) -> None:
    found = collapse(torch.tensor(rows), torch.tensor([length] * len(rows)), BLANK)
    assert [tuple(row) for row in found] == [written(tuple(row[:length])) for row in rows]


@pytest.mark.parametrize("values", [{"num_symbols": 1}, {"blank": 5}, {"freeze_updates": -1}, {"head": {"layer": 9}},
                                    {"head": {"kind": "blstm", "dim": 6}}, {"head": {"dropout": 1.0}}])  # fmt: skip
def test_settings_that_cannot_be_built_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        objective(values)


def test_a_batch_without_texts_is_refused() -> None:
    with pytest.raises(DataError, match="text"):
        build("ctc", TINY["ctc"][0])(replace(make_batch(TINY["ctc"][0]), targets=None))
