"""Schedules, checkpoints and watches, by hand."""

import math
from pathlib import Path

import pytest
import torch

from speechssl.errors import CheckpointError, ConfigError
from speechssl.training import checkpoint, watch
from speechssl.training.optimizer import FACTOR, Optimizer, Schedule, make_optimizer


def test_polynomial_rises_and_falls_in_straight_lines() -> None:
    schedule = Schedule("polynomial", warmup=0.2, final=0.1)
    factors = [schedule.factor(update, 10) for update in range(11)]
    assert factors == pytest.approx([0.5, 1, 1, *(1 - 0.9 * step / 8 for step in range(1, 9))])


def test_tri_stage_rises_holds_and_falls_exponentially() -> None:
    schedule = Schedule("tri_stage", warmup=0.1, hold=0.4, initial=0.01, final=0.05)
    factors = {update: schedule.factor(update, 100) for update in (0, 4, 10, 49, 50, 75, 100)}
    assert factors == pytest.approx({0: 0.109, 4: 0.505, 10: 1, 49: 1, 50: 1, 75: 0.05**0.5, 100: 0.05})


def test_cosine_is_at_its_middle_half_way() -> None:
    schedule = Schedule("cosine", warmup=0.2, final=0.2)
    assert [schedule.factor(update, 10) for update in (2, 6, 10)] == pytest.approx([1, 0.6, 0.2])


def test_constant_stays_after_its_warm_up() -> None:
    assert [Schedule("constant", warmup=0.5).factor(update, 4) for update in range(5)] == [0.5, 1, 1, 1, 1]


def test_inverse_sqrt_halves_at_four_times_the_warm_up() -> None:
    schedule = Schedule("inverse_sqrt", warmup=0.1)
    assert [schedule.factor(update, 100) for update in (4, 10, 40, 90)] == pytest.approx([0.5, 1, 0.5, 1 / 3])


def test_settings_without_effect_are_refused() -> None:
    with pytest.raises(ConfigError, match="hold"):
        Schedule("cosine", hold=0.1)
    with pytest.raises(ConfigError, match="final"):
        Schedule("tri_stage")


def test_effective_rank_counts_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 8, generator=generator)
    assert watch.effective_rank(noise) == pytest.approx(8, abs=0.1)
    assert watch.effective_rank(noise[:, :1] * torch.ones(1, 8)) == pytest.approx(1, abs=1e-3)
    two = torch.zeros(4, 3)
    two[:, 0] = torch.tensor([3.0, -3, 0, 0])
    two[:, 1] = torch.tensor([0.0, 0, 1, -1])  # singular values 3 sqrt 2 and sqrt 2: shares 3/4 and 1/4
    assert watch.effective_rank(two) == pytest.approx(math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4)), rel=1e-5)


def test_code_perplexity_by_hand() -> None:
    assert watch.code_perplexity(torch.tensor([0, 0, 1, 1, 2, 2, 5, 5])) == pytest.approx(4)
    assert watch.code_perplexity(torch.tensor([[0, 3], [1, 3]])) == pytest.approx(1.5)


def test_a_collapse_is_named() -> None:
    assert "perplexity" in (watch.verdict({"code_perplexity": 1.1}) or "")
    assert "rank" in (watch.verdict({"effective_rank": 1.0, "code_perplexity": 50}) or "")
    assert watch.verdict({"effective_rank": 20.0, "code_perplexity": 50.0}) is None


def state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> checkpoint.State:
    return checkpoint.State(
        checkpoint.model_tensors(model), checkpoint.optimizer_tensors(optimizer), {"update": 3, "more": [1]}
    )


def test_a_checkpoint_gives_back_model_optimizer_and_progress(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(model, Optimizer())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = checkpoint.save(tmp_path, state(model, optimizer), update=3, keep=2)
    found = checkpoint.load(path)
    assert found.progress == {"update": 3, "more": [1]}
    assert torch.equal(found.model["weight"], model.weight)
    other = make_optimizer(torch.nn.Linear(3, 2), Optimizer())
    checkpoint.load_optimizer(other, found.optimizer)
    for key, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            assert torch.equal(other.state_dict()["state"][key][name], value), name
    with pytest.raises(CheckpointError, match="another model"):
        checkpoint.load_optimizer(make_optimizer(torch.nn.Linear(4, 2), Optimizer()), found.optimizer)


def test_only_the_newest_checkpoints_are_kept_and_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(model, Optimizer())
    for update in (1, 2, 3, 10):
        checkpoint.save(tmp_path, state(model, optimizer), update=update, keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"update-{n:09d}" for n in (2, 3, 10)]
    (tmp_path / "update-000000010" / "state.json").write_text("{}")
    (tmp_path / "update-000000003" / "manifest.json").unlink()
    found, problems = checkpoint.newest(tmp_path)
    assert found == tmp_path / "update-000000002" and len(problems) == 2
    with pytest.raises(CheckpointError, match="changed"):
        checkpoint.load(tmp_path / "update-000000010")


def test_vectors_can_be_kept_from_decaying() -> None:
    model = torch.nn.Linear(3, 2)
    everything, split = (make_optimizer(model, Optimizer(decay_vectors=flag)) for flag in (True, False))
    assert [group["weight_decay"] for group in everything.param_groups] == [0.01]
    assert [(group["weight_decay"], len(group["params"])) for group in split.param_groups] == [(0.01, 1), (0.0, 1)]


def test_an_encoder_learns_at_its_own_rate() -> None:
    model = torch.nn.ModuleDict({"encoder": torch.nn.Linear(3, 3), "head": torch.nn.Linear(3, 2)})
    optimizer = make_optimizer(model, Optimizer(lr=1.0, encoder_factor=0.25, decay_vectors=False))
    rates = {id(p): group[FACTOR] for group in optimizer.param_groups for p in group["params"]}
    assert {name: rates[id(p)] for name, p in model.named_parameters()} == {
        "encoder.weight": 0.25, "encoder.bias": 0.25, "head.weight": 1.0, "head.bias": 1.0
    }  # fmt: skip
