"""What every objective owes the trainer, checked over all of them (tests/objectives/tiny.py)."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from speechssl import encoders, objectives
from speechssl.data.batch import Batch
from speechssl.errors import ConfigError
from speechssl.nn.initialize import initialize
from speechssl.objectives import Objective
from tests.objectives.tiny import NUM_LABELS, TINY, Case

CASES = [(name, i) for name in objectives.objectives() for i in range(max(1, len(TINY.get(name, []))))]
LENGTHS = (9600, 16000, 12345)


def build(name: str, case: Case) -> nn.Module:
    torch.manual_seed(0)
    encoder = encoders.build(case.family, case.encoder)
    initialize(encoder, torch.Generator().manual_seed(1))
    return objectives.build(name, encoder, case.settings, num_labels=NUM_LABELS if case.labels else None)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def found(request: pytest.FixtureRequest) -> tuple[str, Case]:
    name, i = request.param
    assert TINY.get(name), f"add a small config of {name!r} to tests/objectives/tiny.py"
    return name, TINY[name][i]


def make_batch(case: Case, lengths: tuple[int, ...] = LENGTHS, *, extra: int = 0, padding: float = 0.0) -> Batch:
    """Tones and noise, each utterance its own whatever its place; labels that follow the tone."""
    wav = torch.full((len(lengths), max(lengths) + extra), padding)
    labels = torch.full((len(lengths), 1 + max(lengths) // 320), -1)
    for row, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(length)
        notes = torch.randint(NUM_LABELS, (1 + length // 1600,), generator=generator).repeat_interleave(1600)[:length]
        phase = torch.cumsum(2 * math.pi * (150 + 120 * notes) / 16000, 0)
        wav[row, :length] = 0.3 * phase.sin() + 0.02 * torch.randn(length, generator=generator)
        num_frames = (length - 400) // 320 + 1
        labels[row, :num_frames] = notes[200::320][:num_frames]
    seeds = torch.tensor([17 * length for length in lengths])
    groups = torch.arange(len(lengths)) % 2
    targets = None
    if case.targets:
        targets = torch.full((len(lengths), 1 + max(lengths) // 1600), -1)
        for row, length in enumerate(lengths):
            targets[row, : 1 + length // 1600] = 1 + torch.arange(1 + length // 1600) * (1 + length % 7) % 4
    pitch = None
    if case.pitch:
        tones = 150.0 + 120 * labels.clamp_min(0)
        pitch = torch.stack([(tones / 400).log(), (labels % 3 > 0).float()], 2)
    tasks = {} if targets is None else {name: reversed_targets(targets) for name in case.tasks}
    return Batch(wav, torch.tensor(lengths), seeds, tuple(map(str, lengths)), labels if case.labels else None, groups,
                 pitch=pitch, targets=targets, tasks=tasks)  # fmt: skip


def reversed_targets(targets: Tensor) -> Tensor:
    """[B, L] with -1 behind the ends, each backwards."""
    found = targets.clone()
    for row, size in enumerate((targets >= 0).sum(1).tolist()):
        found[row, :size] = targets[row, :size].flip(0)
    return found


def loss(objective: nn.Module, batch: Batch, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)  # dropout of the objective itself
    return objective(batch).loss


def rows(batch: Batch, index: int) -> Batch:
    """One utterance of a batch, without the padding."""
    length = int(batch.lengths[index])
    picked = slice(index, index + 1)
    return replace(
        batch, wav=batch.wav[picked, :length], lengths=batch.lengths[picked], seeds=batch.seeds[picked],
        ids=batch.ids[picked], labels=None if batch.labels is None else batch.labels[picked],
        groups=None if batch.groups is None else batch.groups[picked],
        pitch=None if batch.pitch is None else batch.pitch[picked],
        targets=None if batch.targets is None else batch.targets[picked],
        tasks={name: targets[picked] for name, targets in batch.tasks.items()},
    )  # fmt: skip


def test_every_objective_has_a_tiny_config() -> None:
    assert set(TINY) == set(objectives.objectives())


def test_it_is_an_objective(found: tuple[str, Case]) -> None:
    objective = build(*found)
    assert isinstance(objective, Objective)
    outcome = objective(make_batch(found[1]))
    assert outcome.loss.shape == () and outcome.loss.dtype == torch.float32 and outcome.loss.requires_grad
    assert outcome.count > 0 and isinstance(outcome.count, int)
    for name, value in outcome.scalars.items():
        assert math.isfinite(float(value)), name
    assert (outcome.codes is not None) == found[1].codes
    for watched in (outcome.frames, outcome.codes) if found[1].codes else (outcome.frames,):
        assert watched is not None and not watched.requires_grad and len(watched) > 1


def test_every_trained_parameter_gets_a_gradient_and_no_teacher_does(found: tuple[str, Case]) -> None:
    objective = build(*found).train()
    for _ in range(3):  # what a random draw leaves out in one batch, another reaches
        loss(objective, make_batch(found[1])).backward()
    for name, parameter in objective.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if not name.endswith("attention.key.bias"):  # a softmax does not see it
            assert parameter.grad.abs().max() > 0, f"{name} has no influence on the loss"


@pytest.mark.parametrize("padding", [0.0, float("nan")])
def test_padding_does_not_change_the_loss(found: tuple[str, Case], padding: float) -> None:
    objective = build(*found).eval()
    plain = loss(objective, make_batch(found[1]))
    padded = loss(objective, make_batch(found[1], extra=4321, padding=padding))
    torch.testing.assert_close(plain, padded, rtol=1e-4, atol=1e-4)


def test_a_batch_counts_as_its_utterances_do(found: tuple[str, Case]) -> None:
    objective = build(*found).eval()
    batch = make_batch(found[1])
    together = objective(batch)
    alone = [objective(rows(batch, index)) for index in range(len(LENGTHS))]
    assert together.count == sum(outcome.count for outcome in alone)
    if found[1].additive:
        torch.testing.assert_close(together.loss, sum(o.loss for o in alone), rtol=1e-4, atol=1e-3)


def test_the_same_seeds_give_the_same_loss_and_others_another(found: tuple[str, Case]) -> None:
    objective = build(*found).train()
    batch = make_batch(found[1])
    assert torch.equal(loss(objective, batch), loss(objective, batch))
    other = loss(objective, replace(batch, seeds=batch.seeds + 1))
    assert torch.equal(loss(objective, batch), other) != found[1].draws


def test_one_batch_can_be_overfitted(found: tuple[str, Case]) -> None:
    """With masks that stay the same, a model that can learn anything learns one batch by heart."""
    name, case = found
    objective = build(name, case).train()
    batch = make_batch(case)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=case.lr)
    history = []
    for step in range(1, 121):
        outcome = objective(batch)
        optimizer.zero_grad()
        (outcome.loss / outcome.count).backward()
        optimizer.step()
        objective.after_step(step)
        history.append(float(outcome.loss.detach()) / outcome.count)
        if min(history[-3:]) < case.falls_to * history[0]:
            return
    raise AssertionError(f"the loss fell from {history[0]:.3f} to {history[-1]:.3f} only")


def test_saved_and_loaded_it_goes_on_the_same(found: tuple[str, Case]) -> None:
    name, case = found
    one, other = build(name, case).train(), build(name, case).train()
    batch = make_batch(case)
    optimizer = torch.optim.SGD([p for p in one.parameters() if p.requires_grad], lr=0.01)
    for step in (1, 2):
        (loss(one, batch) / 100).backward()
        optimizer.step()
        one.after_step(step)
    other.load_state_dict(one.state_dict(), strict=True)
    assert torch.equal(loss(one, batch), loss(other, batch))


def test_utterances_too_short_for_a_frame_are_no_error(found: tuple[str, Case]) -> None:
    objective = build(*found).train()
    outcome = objective(make_batch(found[1], (300, 16000, 500)))
    outcome.loss.backward()
    assert math.isfinite(float(outcome.loss.detach()))
    nothing = objective(make_batch(found[1], (300, 100)))
    assert nothing.count == 0 and float(nothing.loss.detach()) == 0


def test_an_unknown_setting_is_an_error_that_names_it(found: tuple[str, Case]) -> None:
    name, case = found
    with pytest.raises(ConfigError, match="no_such_setting"):
        build(name, replace(case, settings={**case.settings, "no_such_setting": 1}))
