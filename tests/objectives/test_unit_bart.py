"""Unit BART: the loss against transformers' and a sum by hand, what the encoder is shown, what is refused."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from speechssl import objectives
from speechssl.data.batch import Batch
from speechssl.errors import ConfigError, DataError
from speechssl.nn.infilling import MASK, Infilling, infilled
from tests.objectives.tiny import UNITS


def build(**others: object) -> nn.Module:
    torch.manual_seed(0)
    return objectives.build("unit_bart", nn.Identity(), {**UNITS, "num_languages": 2, **others}, num_labels=9).eval()


def make_batch() -> Batch:
    labels = torch.randint(9, (3, 14), generator=torch.Generator().manual_seed(1))
    labels[1, 9:] = -1
    labels[2] = -1  # nothing
    return Batch(torch.zeros(3, 14), torch.tensor([14, 9, 0]), torch.tensor([3, 4, 5]), ("a", "b", "c"), labels,
                 groups=torch.tensor([1, 0, 1]))  # fmt: skip


def test_the_loss_is_that_of_each_unit_and_end_given_those_before_and_what_was_left() -> None:
    objective, batch = build(), make_batch()
    found = objective(batch)
    assert batch.labels is not None and batch.groups is not None and found.count == 14 + 1 + 9 + 1
    total = torch.zeros((), dtype=torch.float64)
    taken = 0.0
    for row, length in ((0, 14), (1, 9)):
        units = batch.labels[row : row + 1, :length]
        noised, counts = infilled(units, torch.tensor([length]), Infilling(), batch.seeds[row : row + 1])
        embedded = [objective.model.units.mask if unit == MASK else objective.model.units.streams[0].weight[unit]
                    for unit in noised[0].tolist()]  # fmt: skip
        embedded.append(objective.model.tags.weight[batch.groups[row]])
        states, counts = objective.model.adaptor(torch.stack(embedded).unsqueeze(0), counts + 1)
        for place in range(length + 1):
            said = torch.tensor([[9, *units[0, :place].tolist()]])
            scores = objective.model.decoder(said, states, counts)[0, -1].double()
            wanted = int(units[0, place]) if place < length else 9
            total = total + scores.logsumexp(0) - scores[wanted]
        taken += float((noised == MASK).logical_not().sum())
    torch.testing.assert_close(found.loss.double(), total, rtol=1e-5, atol=1e-4)
    assert float(found.scalars["nll"]) == pytest.approx(float(total.detach()) / found.count, rel=1e-5)
    assert float(found.scalars["taken_out"]) == pytest.approx(1 - taken / 23) == pytest.approx((5 + 4) / 23)


def test_what_is_taken_out_is_not_seen_and_the_language_is() -> None:
    objective, batch = build(noise={"share": 1.0, "span": 1.0}), make_batch()
    seen: list[Tensor] = []
    objective.model.adaptor.register_forward_hook(lambda _, inputs, output: seen.append(output[0]))
    objective(batch)
    assert batch.labels is not None and batch.groups is not None
    objective(replace(batch, labels=torch.where(batch.labels >= 0, (batch.labels + 1) % 9, -1)))
    objective(replace(batch, groups=1 - batch.groups))
    assert torch.equal(seen[0], seen[1]) and not torch.allclose(seen[0], seen[2])


def test_what_cannot_be_is_an_error() -> None:
    objective, batch = build(), make_batch()
    with pytest.raises(DataError, match="labels"):
        objective(replace(batch, labels=None))
    with pytest.raises(DataError, match="2 languages"):
        objective(replace(batch, groups=None))
    with pytest.raises(DataError, match="max_positions=5"):
        build(decoder={**UNITS["decoder"], "max_positions": 5})(batch)
    with pytest.raises(ConfigError, match=r"strides=\[\]"):
        build(adaptor={**UNITS["adaptor"], "strides": [2]})
    with pytest.raises(ConfigError, match="num_languages"):
        build(num_languages=0)
