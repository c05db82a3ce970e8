"""Label smoothing against its formula and torch's own."""

import math

import pytest
import torch
import torch.nn.functional as F

from speechssl.nn.label_smoothing import smoothed_loss


def test_by_its_formula_with_gradients_and_torch_agrees() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.tensor([0, 4, 2, 2])
    loss = smoothed_loss(logits, targets, 0.3)
    slow = torch.zeros((), dtype=torch.float64)
    for row, target in zip(logits, targets.tolist(), strict=True):
        probs = row.exp() / row.exp().sum()
        for k in range(5):
            slow = slow - ((0.7 if k == target else 0.0) + 0.3 / 5) * probs[k].log()
    torch.testing.assert_close(loss, slow)
    theirs = F.cross_entropy(logits, targets, label_smoothing=0.3, reduction="sum")
    for other in (slow, theirs):
        for mine, its in zip(torch.autograd.grad(loss, logits, retain_graph=True),
                             torch.autograd.grad(other, logits), strict=True):  # fmt: skip
            torch.testing.assert_close(mine, its)


def test_by_hand_and_without_items() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    assert float(smoothed_loss(logits, torch.tensor([0]))) == pytest.approx(math.log(2))
    expected = 0.9 * math.log(2) + 0.1 * (math.log(2) + 2 * math.log(4)) / 3
    assert float(smoothed_loss(logits, torch.tensor([0]), 0.1)) == pytest.approx(expected)
    assert float(smoothed_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 0.1)) == 0
    with pytest.raises(ValueError, match="smoothing"):
        smoothed_loss(logits, torch.tensor([0]), 1.0)


def test_fairseqs_epsilon_converts_as_the_docstring_says() -> None:
    """fairseq: (1 - ε - ε / (V - 1)) nll + ε / (V - 1) * sum over all symbols."""
    logits, target, epsilon, size = torch.randn(1, 6, dtype=torch.float64), torch.tensor([3]), 0.2, 6
    log_probs = logits.log_softmax(-1)
    each = epsilon / (size - 1)
    theirs = -(1 - epsilon - each) * log_probs[0, 3] - each * log_probs.sum()
    torch.testing.assert_close(smoothed_loss(logits, target, epsilon * size / (size - 1)), theirs)
