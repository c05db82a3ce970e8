"""DinoSR against a slow oracle and by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from speechssl import objectives
from speechssl.data.batch import Batch
from speechssl.encoders import hubert
from speechssl.errors import ConfigError
from speechssl.nn.masking import span_mask
from speechssl.objectives.dinosr import prediction_loss
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


def nearest(words: Tensor, frame: Tensor) -> int:
    return min(range(len(words)), key=lambda v: float(((frame - words[v]) ** 2).sum()))


def slow_loss(objective: nn.Module, batch: Batch, mask: Tensor) -> tuple[Tensor, list[list[int]], list[list[Tensor]]]:
    """Frame by frame: the loss, the codes of every masked frame, and the frames of every block."""
    top, entries = objective.config.top_layers, objective.config.entries
    words = objective.codebooks.vectors
    total = torch.zeros((), dtype=torch.float64)
    codes: list[list[int]] = []
    seen: list[list[Tensor]] = [[] for _ in range(top)]
    for row in range(len(batch.ids)):
        x = frontend(objective, batch, row)
        layers = teacher_layers(objective, x, top)
        hidden = torch.stack([objective.masked.vector if mask[row, t] else frame for t, frame in enumerate(x)])
        student, _ = blocks(objective.encoder, hidden + objective.encoder.pos_conv(hidden.unsqueeze(0))[0])
        for t in range(len(x)):
            if not mask[row, t]:
                continue
            codes.append([nearest(words[k], layers[k][t]) for k in range(top)])
            for k in range(top):
                head = slice(k * entries, (k + 1) * entries)
                scores = objective.heads.weight[head] @ student[t] + objective.heads.bias[head]
                total = total - torch.log(scores[codes[-1][k]].exp() / scores.exp().sum()) / top
                seen[k].append(layers[k][t])
    return total, codes, seen


def drawn(objective: nn.Module, batch: Batch) -> Tensor:
    frames = objective.encoder.frame_lengths(batch.lengths)
    return span_mask(objective.config.masking.time, frames, int(frames.max()), batch.seeds)


def test_loss_gradients_and_codebooks_are_those_of_a_slow_oracle() -> None:
    objective = make("dinosr", {"top_layers": 2, "entries": 4, "codebook_decay": 0.8, "masking": PLAIN})
    batch = make_batch()
    expected, codes, seen = slow_loss(objective, batch, drawn(objective, batch))
    outcome = objective(batch)
    assert outcome.count == len(codes) and outcome.codes is not None and outcome.codes.tolist() == codes
    assert float(outcome.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert_same_gradients(objective, outcome.loss, expected)

    sums, counts = objective.codebooks.sums.clone(), objective.codebooks.counts.clone()
    objective.after_step(1)
    for k, frames in enumerate(seen):
        for word in range(4):
            mine = [frame for frame, chosen in zip(frames, codes, strict=True) if chosen[k] == word]
            if mine:
                sums[k, word] = 0.8 * sums[k, word] + 0.2 * sum(mine)
                counts[k, word] = 0.8 * counts[k, word] + 0.2 * len(mine)
    torch.testing.assert_close(objective.codebooks.sums, sums)
    torch.testing.assert_close(objective.codebooks.counts, counts)


def test_the_loss_by_hand() -> None:
    """Two blocks of two codewords: one sure of the wrong one (log(1 + e²) = 2.127), one undecided (log 2)."""
    logits = torch.tensor([[[2.0, 0], [1, 1]]])
    assert float(prediction_loss(logits, torch.tensor([[1, 0]]))) == pytest.approx(
        (math.log(1 + math.e**2) + math.log(2)) / 2
    )


def test_evaluation_leaves_the_codebooks_alone() -> None:
    objective = make("dinosr", {"top_layers": 2, "entries": 4}).eval()
    before = objective.codebooks.sums.clone()
    with torch.no_grad():
        objective(make_batch())
    objective.after_step(1)
    assert torch.equal(objective.codebooks.sums, before)


def test_a_frozen_teacher_keeps_its_convolutions_too() -> None:
    objective = make("dinosr", {"top_layers": 2, "entries": 4, "freeze_after": 1, "decay": {"start": 0.5, "end": 0.5}})

    def train() -> None:
        with torch.no_grad():
            for parameter in objective.encoder.parameters():
                parameter.add_(0.01)

    train()
    objective.after_step(1)
    teacher = {name: tensor.clone() for name, tensor in objective.teacher.state_dict().items()}
    student = {name: tensor.clone() for name, tensor in objective.encoder.state_dict().items()}
    train()
    objective.after_step(2)
    assert all(torch.equal(tensor, teacher[name]) for name, tensor in objective.teacher.state_dict().items())
    for name, tensor in objective.encoder.state_dict().items():
        assert torch.equal(tensor, student[name]) == name.startswith(("conv.", "projection.")), name


def test_codebooks_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="entries"):
        objectives.build("dinosr", hubert.Model(hubert.Config(**SMALL)), {"top_layers": 2, "entries": 1})
