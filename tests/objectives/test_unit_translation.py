"""Translation of units: the loss by hand, what back-translation learns from, what is left out, and that it helps."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from speechssl import objectives
from speechssl.data.batch import Batch
from speechssl.decoders.search import Hypothesis, Search
from speechssl.decoders.token_scorers import decode
from speechssl.errors import ConfigError, DataError
from speechssl.nn.fast import linear
from tests.objectives.tiny import UNITS

V = 9


def build(**others: Any) -> nn.Module:
    torch.manual_seed(0)
    return objectives.build("unit_translation", nn.Identity(), {**UNITS, **others}, num_labels=V).eval()


def rows(*units: tuple[int, ...]) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in units], batch_first=True, padding_value=-1)


def make_batch(targets: Tensor | None) -> Batch:
    labels = rows((1, 2, 3, 4), (5, 6), (7, 8, 1))
    return Batch(torch.zeros(3, 4), torch.tensor([4, 2, 3]), torch.tensor([3, 4, 5]), ("a", "b", "c"), labels,
                 groups=torch.tensor([1, 0, 1]), targets=targets)  # fmt: skip


def by_hand(objective: nn.Module, units: list[int], language: int, target: list[int]) -> Tensor:
    """-log p of each unit of a target and its end, one after another, in float64."""
    model, total = objective.model, torch.zeros((), dtype=torch.float64)
    embedded = torch.stack([*(model.units.streams[0].weight[unit] for unit in units), model.tags.weight[language]])
    states, counts = model.adaptor(embedded.unsqueeze(0), torch.tensor([len(embedded)]))
    for place in range(len(target) + 1):
        scores = model.decoder(torch.tensor([[V, *target[:place]]]), states, counts)[0, -1].double()
        total = total + scores.logsumexp(0) - scores[target[place] if place < len(target) else V]
    return total


def test_of_pairs_the_loss_is_that_of_each_target_unit_given_the_source_and_the_wanted_language() -> None:
    objective, batch = build(smoothing=0.0), make_batch(rows((2, 3), (4,), (5, 6, 7)))
    found = objective(batch)
    wanted = (by_hand(objective, [1, 2, 3, 4], 1, [2, 3]) + by_hand(objective, [5, 6], 0, [4])
              + by_hand(objective, [7, 8, 1], 1, [5, 6, 7]))  # fmt: skip
    assert found.count == 3 + 2 + 4 and not found.tallies
    torch.testing.assert_close(found.loss.double(), wanted, rtol=1e-5, atol=1e-4)
    smoothed = build(smoothing=0.2)(batch)
    assert float(smoothed.scalars["nll"]) == pytest.approx(float(wanted.detach()) / 9, rel=1e-5)
    assert float(smoothed.loss.detach()) > float(smoothed.scalars["nll"]) * 0.8 * 9


@pytest.mark.parametrize("back", [{"how": "search"}, {"how": "search", "beam": 2}, {"how": "sample"}])
def test_what_has_no_translation_is_restored_from_what_the_model_made_of_it(
    back: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = build(smoothing=0.0, back={"max_more": 4, **back})
    batch = make_batch(rows((2, 3), (), ()))
    alone = torch.tensor([1, 2])
    made = objective.translated_back(batch.labels[alone], batch.lengths[alone], batch.groups[alone], batch.seeds[alone])
    assert len(made) == 2 and all(len(one.tokens) <= 4 + 1.5 * 4 for one in made)
    made = [Hypothesis((3, 1, 3), 0.0, 0.0, True), Hypothesis((4, 5), 0.0, 0.0, True)]
    monkeypatch.setattr(objective, "translated_back", lambda *given: made)
    found = objective(batch)
    wanted = (by_hand(objective, [1, 2, 3, 4], 1, [2, 3]) + by_hand(objective, [3, 1, 3], 0, [5, 6])
              + by_hand(objective, [4, 5], 1, [7, 8, 1]))  # fmt: skip
    torch.testing.assert_close(found.loss.double(), wanted, rtol=1e-5, atol=1e-4)
    assert found.count == 3 + 3 + 4 and float(found.scalars["back"]) == pytest.approx(7 / 10)
    assert found.tallies == {"made": 2, "made_units": 5, "empty": 0, "runaway": 0}


def test_empty_and_runaway_sequences_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, batch = build(smoothing=0.0, back={}), make_batch(None)
    made = [Hypothesis((), 0.0, 0.0, True), Hypothesis((4,) * 9, 0.0, 0.0, False), Hypothesis((2,), 0.0, 0.0, True)]
    monkeypatch.setattr(objective, "translated_back", lambda *given: made)
    found = objective(batch)
    assert found.tallies == {"made": 3, "made_units": 10, "empty": 1, "runaway": 1} and found.count == 4
    torch.testing.assert_close(found.loss.double(), by_hand(objective, [2], 1, [7, 8, 1]), rtol=1e-5, atol=1e-4)
    monkeypatch.setattr(objective, "translated_back", lambda *given: made[:2] + made[:1])
    nothing = objective(batch)
    assert nothing.count == 0 and float(nothing.loss.detach()) == 0
    assert nothing.tallies == {"made": 3, "made_units": 9, "empty": 2, "runaway": 1}
    assert build()(batch).count == 0, "without back-translation they count nothing"


def test_it_is_translated_into_the_other_language_as_the_model_is_without_dropout() -> None:
    noisy = {"residual": 0.5, "attention": 0.5, "activation": 0.0, "layer": 0.0}
    objective, batch = build(back={"how": "search", "max_more": 6}, dropout=noisy).train(), make_batch(None)
    made = objective.translated_back(batch.labels, batch.lengths, batch.groups, batch.seeds)
    assert objective.training and objective.model.training
    objective.eval()
    states, counts = objective.model.encode(batch.labels, batch.lengths, 1 - batch.groups)
    search = Search(beam=1, max_tokens=6, max_per_frame=1.5)
    assert [one.tokens for one in made] == [best[0].tokens for best in decode(objective.model.decoder, states, counts,
                                                                             search)]  # fmt: skip


@pytest.mark.parametrize("how", ["sample", "search"])
def test_under_autocast_the_weights_that_translated_have_their_gradients(how: str) -> None:
    """Autocast keeps copies of the weights; one made without gradients must not serve the training that follows.

    Nobody has asked before whether there are fast kernels, as in a training that begins so.
    """
    linear.available.cache_clear()
    objective, batch = build(back={"how": how, "max_more": 20}).train(), make_batch(rows((2, 3), (), ()))
    with torch.autocast("cpu", torch.bfloat16):
        objective(batch).loss.backward()
    weights = [parameter for name, parameter in objective.named_parameters()
               if name.endswith("weight") and parameter.requires_grad and parameter.ndim == 2]  # fmt: skip
    assert weights and all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in weights)


def test_what_cannot_be_is_an_error() -> None:
    batch = make_batch(None)
    with pytest.raises(DataError, match="labels"):
        build()(replace(batch, labels=None))
    with pytest.raises(DataError, match="2 languages"):
        build()(replace(batch, groups=None))
    for settings, message in (
        ({"num_languages": 1}, "two languages"),
        ({"smoothing": 1.0}, "smoothing"),
        ({"adaptor": {**UNITS["adaptor"], "strides": [2]}}, r"strides=\[\]"),
        ({"back": {"how": "sample", "beam": 2}}, "beam belongs to"),
        ({"back": {"how": "search", "sampling": {"top": 2}}}, "sampling to"),
        ({"back": {"max_more": 0}}, "max_more"),
        ({"back": {"sampling": {"temperature": 0.0}}}, "temperature"),
    ):
        with pytest.raises(ConfigError, match=message):
            build(**settings)


NUM, LENGTH = 5, 4
SHAPE: dict[str, Any] = {
    "adaptor": {"strides": [], "channels": 12, "dim": 32, "ffn_dim": 64, "num_layers": 1, "num_heads": 2},
    "decoder": {"dim": 32, "ffn_dim": 64, "num_layers": 1, "num_heads": 2, "max_positions": 40},
    "dropout": {"residual": 0.0, "attention": 0.0, "activation": 0.0, "layer": 0.0}, "num_languages": 2,
}  # fmt: skip


def fixed(units: np.ndarray, languages: np.ndarray, targets: np.ndarray | None, step: int) -> Batch:
    count = len(units)
    return Batch(torch.zeros(count, LENGTH), torch.full((count,), LENGTH), torch.arange(count) + 1000 * step,
                 ("",) * count, torch.from_numpy(units), groups=torch.from_numpy(languages),
                 targets=None if targets is None else torch.from_numpy(targets))  # fmt: skip


def learn(objective: nn.Module, batches: Callable[[int], Batch], updates: int) -> None:
    objective.train()
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-2)
    for step in range(updates):
        outcome = objective(batches(step))
        (outcome.loss / max(1, outcome.count)).backward()
        nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    objective.eval()


def right(objective: nn.Module, units: np.ndarray, languages: np.ndarray, targets: np.ndarray) -> float:
    """The share of units that greedy translations have right, at their places."""
    batch = fixed(units, languages, targets, 0)
    with torch.inference_mode():
        states, counts = objective.model.encode(batch.labels, batch.lengths, batch.groups)
        found = decode(objective.model.decoder, states, counts, Search(beam=1, max_tokens=2 * LENGTH))
    said = np.array([((*best[0].tokens, *(-1,) * LENGTH)[:LENGTH]) for best in found])
    return float((said == targets).mean())


def test_back_translation_raises_the_score_where_pairs_are_few() -> None:
    """Two languages that say the same with other units: B's are A's, permuted. 30 pairs, 400 sentences of each alone.

    Chance is 1 in 5. Going on with the pairs alone for as many updates of them is what it is compared with. With some
    other seeds too little is learned from the pairs, and what is made of it teaches little within these updates.
    """
    random = np.random.default_rng(0)
    order = random.permutation(NUM) + NUM
    first, other = (random.integers(NUM, size=(400, LENGTH)) for _ in range(2))
    alone = (first, order[other])

    def both(units: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        translated = order[units]
        return np.concatenate([units, translated]), np.repeat([1, 0], len(units)), np.concatenate([translated, units])

    pairs, unseen = (both(random.integers(NUM, size=(count, LENGTH))) for count in (30, 50))

    def monolingual(step: int) -> Batch:
        rows = np.random.default_rng(step).integers(400, size=32)
        return fixed(np.concatenate([side[rows] for side in alone]), np.repeat([0, 1], 32), None, step)

    torch.manual_seed(0)
    noise = {"noise": {"share": 0.2, "span": 1.0}}
    bart = objectives.build("unit_bart", nn.Identity(), {**SHAPE, **noise}, num_labels=2 * NUM)
    learn(bart, monolingual, 250)
    back = {"smoothing": 0.0, "back": {"how": "search", "max_more": 3}}
    begun, supervised, mixed = (objectives.build("unit_translation", nn.Identity(), {**SHAPE, **back},
                                                 num_labels=2 * NUM) for _ in range(3))  # fmt: skip
    begun.model.load_state_dict(bart.model.state_dict())
    learn(begun, lambda step: fixed(*pairs, step), 100)
    for objective in (supervised, mixed):
        objective.load_state_dict(begun.state_dict())
    learn(supervised, lambda step: fixed(*pairs, step), 150)
    learn(mixed, lambda step: fixed(*pairs, step) if step % 2 else monolingual(step), 300)
    scores = [right(objective, *unseen) for objective in (begun, supervised, mixed)]
    assert scores[2] > scores[1] + 0.1 and scores[2] > scores[0] + 0.15, scores
