"""Sequence to sequence against its formulas, utterance by utterance in float64."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl import config, objectives
from speechssl.errors import ConfigError, DataError
from speechssl.objectives.seq2seq import Config
from speechssl.training.optimizer import Optimizer, make_optimizer
from tests.encoders import tiny as encoders
from tests.objectives.test_contract import build, make_batch, rows
from tests.objectives.tiny import TINY

PLAIN, HYBRID, TASKS, STACKS = TINY["seq2seq"]


def cross_entropy(logits: Tensor, target: list[int], smoothing: float) -> Tensor:
    """-Σ_t Σ_k q'_t(k) log p_t(k), one symbol after another."""
    total = logits.new_zeros(())
    for row, wanted in zip(logits, target, strict=True):
        log_probs = row - row.logsumexp(0)
        for k in range(len(row)):
            total = total - ((1 - smoothing) * (k == wanted) + smoothing / len(row)) * log_probs[k]
    return total


def slow(objective: nn.Module, batch: Any) -> Tensor:
    """The loss of one utterance, from the parts of the model alone."""
    settings, model = objective.config, objective.model
    frames, counts = objective._frames(batch)
    states, lengths = model.adaptor.states(frames, counts)
    target = [t for t in batch.targets[0].tolist() if t >= 0]
    end = settings.num_symbols
    decoder, height = model.decoder, settings.decoder.stack
    whole = [*target, *[end] * (height - len(target) % height)]
    read = torch.tensor([[*[end] * height, *whole[:-height]]])
    logits = decoder(read, states[-1], lengths)[0, : len(target) + 1].double()
    loss, count = cross_entropy(logits, [*target, end], settings.smoothing), len(target) + 1

    def ctc(x: Tensor, labels: list[int], blank: int) -> Tensor:
        log_probs = x.double().log_softmax(-1).transpose(0, 1)
        return F.ctc_loss(log_probs, torch.tensor([labels]), torch.tensor([len(log_probs)]),
                          torch.tensor([len(labels)]), blank=blank, reduction="sum",
                          zero_infinity=True)  # fmt: skip  # where no path is long enough

    if settings.ctc_weight:
        loss = (1 - settings.ctc_weight) * loss + settings.ctc_weight * ctc(model.ctc(states[-1]), target, 0)
    for task in settings.tasks:
        labels = [t for t in batch.tasks[task.name][0].tolist() if t >= 0]
        head = model.heads[task.name]
        if task.side == "decoder":
            x = decoder.norm(decoder.states(read, states[-1], lengths)[-1])
            assert x.shape[1] == 1 + len(target) // height
            mean = ctc(head(x), labels, task.num_symbols) / len(labels)
        elif task.kind == "ctc":
            mean = ctc(head(states[task.layer or -1]), labels, task.num_symbols) / len(labels)
        else:
            logits = head(torch.tensor([[head.end, *labels]]), states[task.layer or -1], lengths)[0].double()
            mean = cross_entropy(logits, [*labels, head.end], settings.smoothing) / (len(labels) + 1)
        loss = loss + task.weight * count * mean
    return loss


@pytest.mark.parametrize("case", [PLAIN, HYBRID, TASKS, STACKS], ids=["plain", "hybrid", "tasks", "stacks"])
def test_loss_and_gradients_are_those_of_the_formula(case: Any) -> None:
    objective, batch = build("seq2seq", case).eval(), make_batch(case)
    found = objective(batch)
    expected = sum((slow(objective, rows(batch, row)) for row in range(3)), torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(found.loss.double(), expected, rtol=1e-5, atol=1e-4)
    assert found.count == int((batch.targets >= 0).sum()) + 3
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    one = torch.autograd.grad(found.loss, trained, allow_unused=True)
    other = torch.autograd.grad(expected, trained, allow_unused=True)
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_scalars_tell_of_true_symbols_and_of_what_is_left_out() -> None:
    objective, batch = build("seq2seq", TASKS).eval(), make_batch(TASKS)
    tasks = {name: targets.clone() for name, targets in batch.tasks.items()}
    tasks["one"][0] = -1  # no target
    tasks["two"][1] = -1
    tasks["three"] = tasks["three"].repeat(1, 2)  # too long for CTC over the decoder
    tasks["three"][tasks["three"] < 0] = 2
    found = objective(replace(batch, tasks=tasks))
    assert found.scalars["one_left_out"] == pytest.approx(1 / 3) and found.scalars["three_left_out"] == 1
    assert found.scalars["two_left_out"] == pytest.approx(1 / 3) and found.scalars["three_loss"] == 0
    assert found.loss.isfinite() and 0 <= float(found.scalars["accuracy"]) <= 1
    smooth = build("seq2seq", replace(PLAIN, settings={**PLAIN.settings, "smoothing": 0.4})).eval()(make_batch(PLAIN))
    plain = build("seq2seq", replace(PLAIN, settings={**PLAIN.settings, "smoothing": 0.0})).eval()(make_batch(PLAIN))
    assert float(smooth.scalars["nll"]) == pytest.approx(float(plain.loss.detach()) / plain.count, rel=1e-5)
    assert float(smooth.loss.detach()) != pytest.approx(float(plain.loss.detach()))


def test_a_task_looks_at_its_layer_and_no_further() -> None:
    settings = {**TASKS.settings, "adaptor": {**TASKS.settings["adaptor"], "num_layers": 3},
                "tasks": [{"name": "one", "num_symbols": 5, "layer": 2}]}  # fmt: skip
    objective = build("seq2seq", replace(TASKS, settings=settings)).eval()
    batch = make_batch(TASKS)
    frames, counts = objective._frames(batch)
    scores = objective.model(frames, counts, batch.targets, dict(batch.tasks))
    scores.tasks["one"][0].sum().backward()
    reached = [layer.ffn.up.weight.grad is not None for layer in objective.model.adaptor.blocks.layers]
    assert reached == [True, True, False]


@pytest.mark.parametrize("updates", [2, -1])
def test_the_encoder_is_frozen_for_so_long(updates: int) -> None:
    objective = build("seq2seq", replace(PLAIN, settings={**PLAIN.settings, "freeze_updates": updates})).train()
    batch = make_batch(PLAIN)
    for step in (1, 2, 3):
        objective.zero_grad()
        objective(batch).loss.backward()
        learned = objective.encoder.transformer.layers[0].ffn.up.weight.grad is not None
        assert learned == (updates == 2 and step == 3)
        objective.after_step(step)


NORMS_AND_ATTENTION = re.compile(r"(attention|cross)\.(query|key|value|out)\.|(^|[._])norm\.")


@pytest.mark.parametrize("trained", ["full", "lna_e", "lna_d", "lna_ed"])
def test_exactly_the_named_parameters_move(trained: str) -> None:
    """By their names: of the encoder (its front end aside) and of the decoder norms and attention, all else as ever."""
    objective = build("seq2seq", replace(PLAIN, settings={**PLAIN.settings, "trained": trained})).train()
    before = {name: parameter.detach().clone() for name, parameter in objective.named_parameters()}
    optimizer = make_optimizer(objective, Optimizer(lr=1e-2))
    for _ in range(2):
        objective(make_batch(PLAIN)).loss.backward()
        optimizer.step()
    moved = {name for name, parameter in objective.named_parameters() if not torch.equal(parameter, before[name])}
    parts = {"encoder.": "e", "model.decoder.": "d"}
    wanted = set()
    for name in before.keys() - {"masked.vector"}:  # nothing is masked here
        part = next((letter for start, letter in parts.items() if name.startswith(start)), "-")
        norm_or_attention = bool(NORMS_AND_ATTENTION.search(name)) and not name.startswith("encoder.conv.")
        if part not in trained.partition("lna_")[2] or norm_or_attention:
            wanted.add(name)
    assert moved == wanted
    if trained == "lna_ed":
        assert "encoder.transformer.layers.0.attention.value.weight" in moved
        assert "model.decoder.layers.0.cross.key.bias" in wanted and "model.decoder.norm.weight" in moved
        assert "model.decoder.layers.0.ffn_norm.bias" in moved and "model.decoder.embedding.weight" not in moved
        assert "encoder.transformer.layers.0.ffn.up.weight" not in moved and "model.adaptor.drop" not in moved


def test_partial_training_without_effect_is_an_error() -> None:
    with pytest.raises(ConfigError, match="frozen for good"):
        build("seq2seq", replace(PLAIN, settings={**PLAIN.settings, "trained": "lna_ed", "freeze_updates": -1}))
    without = replace(PLAIN, family="tdnn", encoder=encoders.TINY["tdnn"][0])
    with pytest.raises(ConfigError, match=r"tdnn has no attention"):
        build("seq2seq", replace(without, settings={**PLAIN.settings, "trained": "lna_e"}))
    build("seq2seq", replace(without, settings={**PLAIN.settings, "trained": "lna_d", "freeze_updates": -1}))


def test_frames_are_masked_in_training_alone() -> None:
    objective, batch = build("seq2seq", HYBRID), make_batch(HYBRID)
    trained, other = objective.train()(batch).loss, objective(replace(batch, seeds=batch.seeds + 1)).loss
    assert not torch.equal(trained, other)
    validated = [objective.eval()(replace(batch, seeds=batch.seeds + k)).loss for k in range(2)]
    assert torch.equal(*validated)


def test_what_is_missing_or_impossible_is_an_error() -> None:
    objective, batch = build("seq2seq", TASKS), make_batch(TASKS)
    with pytest.raises(DataError, match="targets"):
        objective(replace(batch, targets=None))
    with pytest.raises(DataError, match="'one'"):
        objective(replace(batch, tasks={}))
    for wrong, words in (
        ({"layer": 9}, "layer=9"), ({"ctc_weight": 1.0}, "ctc_weight"), ({"smoothing": 1.5}, "smoothing"),
        ({"tasks": [{"name": "a", "num_symbols": 3, "layer": 8}]}, "layer 8"), ({"tasks": [{"name": "a"}]}, "known"),
        ({"tasks": [{"name": "a", "side": "decoder", "kind": "attention"}]}, "CTC only"), ({"blank": 5}, "blank=5"),
        ({"tasks": [{"name": "a", "num_symbols": 3}] * 2}, "different"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            build("seq2seq", replace(PLAIN, settings={**PLAIN.settings, **wrong}))


def test_settings_survive_their_plain_values() -> None:
    settings = config.build(Config, TASKS.settings)
    assert config.build(Config, config.to_dict(settings)) == settings
    assert "seq2seq" in objectives.objectives()
