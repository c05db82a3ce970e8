"""Losses of generators and discriminators of waveforms: least squares and feature matching (arXiv:2010.05646).

A discriminator is several that look at a waveform in their own way; each gives scores and the features of its layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Judgement:
    """What one discriminator says of a batch."""

    scores: Tensor  # any shape: about 1 for real, about 0 for generated
    features: tuple[Tensor, ...]  # of its layers


@dataclass(frozen=True)
class Generated:
    """What a generator made of a batch, beside what it should have made."""

    real: Tensor  # [B, S] float32, silence behind an utterance's end
    made: Tensor  # [B, S] float32, likewise
    penalties: Mapping[str, Tensor]  # [] each: losses of the generator's own, by the name of their weight
    codes: Tensor | None = None  # [N, G] int64: their perplexity is watched


def discriminator_loss(real: Sequence[Judgement], generated: Sequence[Judgement]) -> Tensor:
    """Eq. (1): the sum over discriminators of E[(D(x) - 1)^2 + D(G(s))^2]; no gradient shall lead to the generator."""
    parts = [
        (r.scores.float() - 1).square().mean() + g.scores.float().square().mean()
        for r, g in zip(real, generated, strict=True)
    ]
    return torch.stack(parts).sum()


def generator_loss(generated: Sequence[Judgement]) -> Tensor:
    """Eq. (2): the sum over discriminators of E[(D(G(s)) - 1)^2]."""
    return torch.stack([(g.scores.float() - 1).square().mean() for g in generated]).sum()


def feature_matching_loss(real: Sequence[Judgement], generated: Sequence[Judgement]) -> Tensor:
    """Eq. (4): the sum over layers of all discriminators of the mean |D_i(x) - D_i(G(s))|; D_i(x) is a constant."""
    parts = [
        (a.detach().float() - b.float()).abs().mean()
        for r, g in zip(real, generated, strict=True)
        for a, b in zip(r.features, g.features, strict=True)
    ]
    return torch.stack(parts).sum()
