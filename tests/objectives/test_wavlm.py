"""Prediction of labels against a slow oracle, and that WavLM hears mixtures but predicts clean labels."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from speechssl import encoders, objectives
from speechssl.errors import DataError
from speechssl.nn.prediction import code_logits, frame_labels, predict_labels, prediction_loss
from tests.objectives.test_contract import make_batch
from tests.objectives.tiny import ENCODER, NUM_LABELS, RELATIVE, Case


def slow_loss(frames: Tensor, codes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Eqs. (1) and (3) of arXiv:2106.07447 in float64, one frame and one code at a time."""
    total = frames.new_zeros(())
    for frame, label in zip(frames, labels.tolist(), strict=True):
        scores = [frame @ code / (frame.norm() * code.norm()) / temperature for code in codes]
        total = total - scores[label] + torch.stack(scores).exp().sum().log()
    return total


def test_the_loss_and_its_gradients_are_the_papers_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    frames, codes = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (7, 4))
    labels = torch.randint(4, (7,), generator=generator)
    results = []
    for slow in (True, False):
        x, e = frames.clone().requires_grad_(), codes.clone().requires_grad_()
        loss = slow_loss(x, e, labels, 0.1) if slow else prediction_loss(code_logits(x, e, 0.1), labels)
        loss.backward()
        results.append((loss.detach().double(), x.grad, e.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(expected, found, rtol=1e-4, atol=1e-4)


def test_weights_and_masks_by_hand() -> None:
    """Frames are their own logits: e^0 against e^ln3 gives 1/4 and 3/4."""
    x = torch.tensor([[[0.0, math.log(3)]] * 4])
    labels, valid = torch.tensor([[0, 1, 1, -1]]), torch.tensor([[True, True, True, True]])
    mask = torch.tensor([[True, False, True, True]])
    found = predict_labels(lambda frames: frames, x, labels, valid, mask, masked_weight=2.0, unmasked_weight=0.5)
    masked = -math.log(1 / 4) - math.log(3 / 4)
    assert float(found.loss) == pytest.approx(2 * masked + 0.5 * -math.log(3 / 4))
    assert found.count == 3 and found.predicted.tolist() == [[True, True, True, False]]
    assert found.codes.tolist() == [1, 1, 1] and float(found.scalars["unmasked_accuracy"]) == 1
    assert float(found.scalars["masked_loss"]) == pytest.approx(masked / 2)
    assert float(found.scalars["accuracy"]) == 0.5 and float(found.scalars["masked_share"]) == pytest.approx(2 / 3)
    alone = predict_labels(lambda frames: frames, x, labels, valid, mask, masked_weight=2.0, unmasked_weight=0.0)
    assert float(alone.loss) == pytest.approx(2 * masked) and alone.count == 2
    assert alone.predicted.tolist() == [[True, False, True, False]] and "unmasked_loss" not in alone.scalars


def test_labels_are_cut_or_filled_to_the_frames() -> None:
    labels = torch.tensor([[1, 2, 3]])
    assert frame_labels(labels, 2).tolist() == [[1, 2]] and frame_labels(labels, 4).tolist() == [[1, 2, 3, -1]]
    with pytest.raises(DataError, match="labels"):
        frame_labels(None, 4)


def test_without_mixing_it_is_hubert_and_with_it_only_training_hears_mixtures() -> None:
    case = Case(labels=True)
    batch = make_batch(case)
    values = {"code_dim": 8}
    encoder = encoders.build("wavlm", RELATIVE)
    hubert = objectives.build("hubert", encoder, values, num_labels=NUM_LABELS)
    for share, same in ((0.0, True), (1.0, False)):
        wavlm = objectives.build("wavlm", encoder, {**values, "mixing": {"share": share}}, num_labels=NUM_LABELS)
        wavlm.load_state_dict(hubert.state_dict())
        for training in (True, False):
            losses = []
            for objective in (hubert, wavlm):
                torch.manual_seed(0)  # dropout
                losses.append(objective.train(training)(batch).loss)
            assert torch.equal(*losses) == (same or not training)


def test_noise_of_the_batch_reaches_the_mixture() -> None:
    batch = make_batch(Case(labels=True))
    values = {"code_dim": 8, "mixing": {"share": 1.0, "noise_share": 1.0}, "masking": {"dropout": 0.0}}
    wavlm = objectives.build("wavlm", encoders.build("hubert", ENCODER), values, num_labels=NUM_LABELS).train()
    one, other = (wavlm(replace(batch, noise=torch.randn(5000, generator=torch.Generator().manual_seed(s)))).loss
                  for s in (1, 2))  # fmt: skip
    assert not torch.equal(one, other)
