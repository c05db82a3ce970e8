"""The transducer's loss against a hand-computed value, a slow float64 walk, and torchaudio."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from speechssl.errors import DataError
from speechssl.nn.transducer_loss import transducer_losses

BLANK = 0


def slow(logits: Tensor, target: list[int], blank: int = BLANK) -> Tensor:
    """-ln p by eqs. (16) and (18) of arXiv:1211.3711, node by node, so that autograd gives the gradient."""
    log_probs = logits.log_softmax(-1)
    alpha: dict[tuple[int, int], Tensor] = {(0, 0): logits.new_zeros(())}
    for t in range(len(logits)):
        for u in range(len(target) + 1):
            ways = []
            if t:
                ways.append(alpha[t - 1, u] + log_probs[t - 1, u, blank])
            if u:
                ways.append(alpha[t, u - 1] + log_probs[t, u - 1, target[u - 1]])
            if ways:
                alpha[t, u] = torch.stack(ways).logsumexp(0)
    end = (len(logits) - 1, len(target))
    return -(alpha[end] + log_probs[(*end, blank)])


def test_a_value_by_hand() -> None:
    """Two frames, one symbol: blank 1/4 and symbol 3/4 before it is said, blank 2/3 behind it.

    Said in frame 1: 3/4 * 2/3 * 2/3 = 1/3; in frame 2: 1/4 * 3/4 * 2/3 = 1/8; together 11/24.
    """
    before, behind = [1 / 4, 3 / 4], [2 / 3, 1 / 3]
    logits = torch.tensor([[[before, behind], [before, behind]]], dtype=torch.float64).log()
    found = transducer_losses(logits, torch.tensor([2]), torch.tensor([[1]]), blank=BLANK)
    assert float(found) == pytest.approx(-math.log(11 / 24), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=3),
)
def test_loss_and_gradient_are_those_of_the_slow_walk(seed: int, blank: int, sizes: list[tuple[int, int]]) -> None:
    """Of utterances of different lengths in one batch, padded with numbers that must not matter; empty targets too."""
    random = np.random.default_rng(seed)
    frames, most = max(t for t, _ in sizes), max(u for _, u in sizes)
    others = [symbol for symbol in range(4) if symbol != blank]
    texts = [[int(i) for i in random.choice(others, size)] for _, size in sizes]
    targets = torch.tensor([text + [-1] * (most - len(text)) for text in texts]).reshape(len(sizes), most).long()
    logits = torch.from_numpy(random.normal(0, 3, (len(sizes), frames, most + 1, 4))).requires_grad_()
    weights = torch.from_numpy(random.normal(size=len(sizes)))

    found = transducer_losses(logits, torch.tensor([t for t, _ in sizes]), targets, blank=blank)
    (gradient,) = torch.autograd.grad((found * weights).sum(), logits)
    rows = [slow(logits[n, :t, : u + 1], texts[n], blank) for n, (t, u) in enumerate(sizes)]
    wanted = torch.stack(rows)
    (slow_gradient,) = torch.autograd.grad((wanted * weights).sum(), logits)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, slow_gradient, rtol=1e-9, atol=1e-10)


def test_torchaudio_agrees_loss_and_gradient() -> None:
    functional = pytest.importorskip("torchaudio.functional")
    if not hasattr(functional, "rnnt_loss"):
        pytest.skip("torchaudio without rnnt_loss")
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 30, 9, 11, generator=generator).mul(2).requires_grad_()
    frames, sizes = torch.tensor([30, 17, 4]), torch.tensor([5, 8, 8])  # 8 symbols in 4 frames: no error here
    targets = torch.randint(1, 11, (3, 8), generator=generator)
    padded = targets.masked_fill(torch.arange(8) >= sizes[:, None], -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        theirs = functional.rnnt_loss(logits, targets.int(), frames.int(), sizes.int(), blank=0, reduction="none")
    (their_gradient,) = torch.autograd.grad(theirs.sum(), logits)
    ours = transducer_losses(logits, frames, padded, blank=0)
    (gradient,) = torch.autograd.grad(ours.sum(), logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-4, atol=2e-5)


def test_the_probabilities_of_all_texts_sum_to_one_where_none_can_be_longer() -> None:
    """V = 2 and a joiner that has only the blank left behind two symbols."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 3, 2, dtype=torch.float64, generator=generator)
    logits[:, :, 2, 1] = -1e9
    each = [transducer_losses(logits[:, :, : n + 1], torch.tensor([3]), torch.ones(1, n).long(), blank=BLANK)
            for n in range(3)]  # fmt: skip
    assert float(torch.stack(each).neg().exp().sum()) == pytest.approx(1, abs=1e-12)


def test_without_a_frame_the_loss_is_infinite_and_the_gradient_nothing() -> None:
    logits = torch.randn(2, 3, 2, 4, requires_grad=True)
    found = transducer_losses(logits, torch.tensor([0, 3]), torch.tensor([[1], [2]]), blank=BLANK)
    assert float(found[0].detach()) == math.inf and bool(found[1].isfinite())
    found[1].backward()
    assert logits.grad is not None and not logits.grad[0].any() and logits.grad[1].any()


@pytest.mark.parametrize(("target", "frames", "message"), [(4, 3, "below 4"), (0, 3, "blank 0"), (1, 4, "do not fit")])
def test_targets_outside_the_vocabulary_and_misfits_are_refused(target: int, frames: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        transducer_losses(torch.zeros(1, 3, 2, 4), torch.tensor([frames]), torch.tensor([[target]]), blank=BLANK)
