"""Text to units: the loss as a sum by hand, who speaks, what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from speechssl import objectives
from speechssl.data.batch import Batch
from speechssl.errors import ConfigError, DataError
from tests.objectives.tiny import UNITS

TOLD: dict[str, Any] = {"num_speakers": 3, "speaker_inputs": 4}


def build(**others: Any) -> nn.Module:
    torch.manual_seed(0)
    values = {**UNITS, "num_units": 9, "num_languages": 2, "smoothing": 0.0, **others}
    return objectives.build("text_to_units", nn.Identity(), values, num_labels=5).eval()


def make_batch() -> Batch:
    random = torch.Generator().manual_seed(1)
    texts, units = torch.randint(5, (4, 6), generator=random), torch.randint(9, (4, 8), generator=random)
    texts[1, 4:], units[1, 3:], texts[2], units[3] = -1, -1, -1, -1  # the last two have no text, and no units
    return Batch(torch.zeros(4, 6), torch.tensor([6, 4, 0, 6]), torch.arange(4), ("a", "b", "c", "d"), texts,
                 groups=torch.tensor([1, 0, 1, 0]), targets=units, speakers=torch.tensor([2, 0, 1, 0]))  # fmt: skip


@pytest.mark.parametrize("told", [False, True])
def test_the_loss_is_that_of_each_unit_and_end_given_those_before_text_language_and_speaker(told: bool) -> None:
    objective, batch = build(**(TOLD if told else {})), make_batch()
    if told:
        objective.voices.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(2)))
    found, model = objective(batch), objective.model
    assert batch.labels is not None and batch.groups is not None and batch.targets is not None
    total = torch.zeros((), dtype=torch.float64)
    for row, (symbols, units, speaker) in enumerate(((6, 8, 2), (4, 3, 0))):
        embedded = [*model.units.streams[0].weight[batch.labels[row, :symbols]], model.tags.weight[batch.groups[row]]]
        states, counts = model.adaptor(torch.stack(embedded).unsqueeze(0), torch.tensor([symbols + 1]))
        if told:
            project, norm = model.speaker
            states = states + norm(project.weight @ objective.voices[speaker] + project.bias)
        for place in range(units + 1):
            said = torch.tensor([[9, *batch.targets[row, :place].tolist()]])
            scores = model.decoder(said, states, counts)[0, -1].double()
            total = total + scores.logsumexp(0) - scores[int(batch.targets[row, place]) if place < units else 9]
    assert found.count == 8 + 1 + 3 + 1
    torch.testing.assert_close(found.loss.double(), total, rtol=1e-5, atol=1e-4)


def test_who_speaks_changes_the_loss_and_embeddings_are_not_trained() -> None:
    objective, batch = build(**TOLD), make_batch()
    objective.voices.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(2)))
    one = objective(batch)
    one.loss.backward()
    assert objective.model.speaker[0].weight.grad.abs().max() > 0 and not objective.voices.requires_grad
    other = objective(replace(batch, speakers=torch.tensor([1, 0, 1, 0])))
    assert float(one.loss.detach()) != pytest.approx(float(other.loss.detach()), rel=1e-6)


def test_what_cannot_be_is_an_error() -> None:
    batch = make_batch()
    with pytest.raises(DataError, match="targets"):
        build()(replace(batch, targets=None))
    with pytest.raises(DataError, match="2 languages"):
        build()(replace(batch, groups=None))
    with pytest.raises(DataError, match="who speaks"):
        build(**TOLD)(replace(batch, speakers=None))
    with pytest.raises(DataError, match="takes none"):
        build().model.encode(torch.zeros(1, 2).long(), torch.tensor([2]), torch.tensor([0]), torch.zeros(1, 4))
    with pytest.raises(ConfigError, match="need each other"):
        build(num_speakers=2)
    with pytest.raises(ConfigError, match="smoothing"):
        build(smoothing=1.0)
