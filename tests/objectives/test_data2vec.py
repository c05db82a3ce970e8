"""data2vec against a slow oracle and by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from speechssl import objectives
from speechssl.data.batch import Batch
from speechssl.encoders import hubert
from speechssl.errors import ConfigError
from speechssl.nn.masking import span_mask
from speechssl.nn.regression import deviation, regression_loss
from tests.objectives.teachers import (
    SMALL,
    assert_same_gradients,
    blocks,
    frontend,
    make,
    make_batch,
    teacher_layers,
)

PLAIN = {"gradient": 1.0, "dropout": 0.0, "features_dropout": 0.0, "time": {"share": 0.5, "span": 2}}


def distance(prediction: float, target: float, beta: float) -> float:
    """Smooth L1 (arXiv:2202.03555, section 3.4), or the square."""
    gap = abs(prediction - target)
    if beta == 0:
        return gap * gap
    return 0.5 * gap * gap / beta if gap < beta else gap - 0.5 * beta


def slow_loss(objective: nn.Module, batch: Batch, mask: Tensor, beta: float) -> tuple[Tensor, int]:
    """An utterance, a frame, a channel at a time."""
    top = objective.config.top_layers
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(batch.ids)):
        x = frontend(objective, batch, row)
        layers = teacher_layers(objective, x, top)
        hidden = torch.stack([objective.masked.vector if mask[row, t] else frame for t, frame in enumerate(x)])
        student, _ = blocks(objective.encoder, hidden + objective.encoder.pos_conv(hidden.unsqueeze(0))[0])
        for t in range(len(x)):
            if not mask[row, t]:
                continue
            count += 1
            prediction = objective.head(student[t])
            for c in range(len(prediction)):
                target = sum(layer[t, c] for layer in layers) / top
                total = total + distance(prediction[c], target, beta) / math.sqrt(len(prediction))
    return total, count


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_loss_and_gradients_are_those_of_a_slow_oracle(beta: float) -> None:
    objective = make("data2vec", {"top_layers": 2, "beta": beta, "masking": PLAIN})
    batch = make_batch()
    outcome = objective(batch)
    frames = objective.encoder.frame_lengths(batch.lengths)
    mask = span_mask(objective.config.masking.time, frames, int(frames.max()), batch.seeds)
    expected, count = slow_loss(objective, batch, mask, beta)
    assert outcome.count == count
    assert float(outcome.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert_same_gradients(objective, outcome.loss, expected)


def test_the_loss_by_hand() -> None:
    """Four channels: gaps 1, -2, 0 and 0.5; squares 5.25, smooth L1 with β = 1 2.125; over √4."""
    predictions, targets = torch.tensor([[1.0, 0, 3, 0.5]]), torch.tensor([[0.0, 2, 3, 0]])
    assert float(regression_loss(predictions, targets)) == pytest.approx(5.25 / 2)
    assert float(regression_loss(predictions, targets, 1.0)) == pytest.approx((0.5 + 1.5 + 0 + 0.125) / 2)


def test_deviation_tells_a_collapse() -> None:
    assert float(deviation(torch.tensor([[0.0, 5], [2, 5]]))) == pytest.approx(0.5)
    assert float(deviation(torch.ones(4, 3))) == 0 and float(deviation(torch.ones(0, 3))) == 0


def test_after_a_step_only_the_teachers_transformer_is_an_average() -> None:
    objective = make("data2vec", {"top_layers": 2, "decay": {"start": 0.5, "end": 0.5}})
    teacher, student = objective.teacher.encoder, objective.encoder
    before = {name: tensor.clone() for name, tensor in teacher.named_parameters()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    objective.after_step(1)
    for (name, mine), theirs in zip(teacher.named_parameters(), student.parameters(), strict=True):
        average = (before[name] + theirs) / 2
        torch.testing.assert_close(mine, average if name.startswith("transformer") else theirs, msg=name)


def test_more_top_layers_than_blocks_are_refused() -> None:
    with pytest.raises(ConfigError, match="top_layers=8"):
        objectives.build("data2vec", hubert.Model(hubert.Config(**SMALL)), {})
