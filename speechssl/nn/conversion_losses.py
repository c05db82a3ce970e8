"""Losses of StarGANv2-VC (arXiv:2107.10394, section 2.2): conversion of mels by adversaries, without pairs.

What the discriminator, classifier and style encoder say comes in as it is; each function is one equation. The paper's
text was not at hand: the forms were checked against the released code's, the equations' numbers are from memory.

B utterances, T frames, M mel bins, N speakers, S numbers of a style, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Eq. (1), as the discriminator sees it, negated: E[-log D(X)] + E[-log(1 - D(G(X)))]; logits [B]."""
    return F.softplus(-real.float()).mean() + F.softplus(made.float()).mean()


def generator_loss(made: Tensor) -> Tensor:
    """Eq. (1), as the generator sees it: E[-log D(G(X))] of logits [B].

    differs: the equation has E[log(1 - D(G(X)))], which has no gradient where the discriminator is sure; the released
    code has this one, too.
    """
    return F.softplus(-made.float()).mean()


def source_classifier_loss(logits: Tensor, speakers: Tensor) -> Tensor:
    """Cross entropy of logits [B, N] of converted mels and speakers [B] int64.

    Eq. (11) with who spoke in truth, which the classifier finds out; eq. (2) with the target, for the generator.
    """
    return F.cross_entropy(logits.float(), speakers)


def style_loss(style: Tensor, found: Tensor) -> Tensor:
    """Eq. (3): how far the style [B, S] that a converted mel was told is from what the style encoder finds in it."""
    return (style.float() - found.float()).abs().mean()


def diversity_loss(made: Tensor, other: Tensor, hidden: Tensor, other_hidden: Tensor) -> Tensor:
    """Eq. (4), to be made large: how far mels [B, T, M] of two styles are apart, and F0 features of them [B, T, C]."""
    return (made.float() - other.float()).abs().mean() + (hidden.float() - other_hidden.float()).abs().mean()


def pitch_loss(real: Tensor, made: Tensor) -> Tensor:
    """Eq. (5): absolute difference of F0 [B, T] in Hz (0: unvoiced), each divided by its own sum over time.

    Summed over frames, and averaged over utterances. What is not voiced at all has a sum of one.
    """
    one, other = (f0.float() / f0.float().sum(1, keepdim=True).clamp_min(1.0) for f0 in (real, made))
    return (one - other).abs().sum(1).mean()


def speech_loss(real: Tensor, made: Tensor) -> Tensor:
    """Eq. (6): how far what a recogniser hears [B, T, C] in both is apart.

    differs: squared up to 1, as the released code has it.
    """
    return F.smooth_l1_loss(made.float(), real.float())


def norm_loss(real: Tensor, made: Tensor, *, bias: float = 0.5) -> Tensor:
    """Eq. (7) of log mels of power [B, T, M]: how far the loudness of each frame is apart.

    differs: the equation has the absolute difference of sums over bins; this is of the logarithms of root sums of
    squares, free up to `bias` and squared beyond it, as the released code has it.
    """
    one, other = (torch.logsumexp(2 * mel.float(), 2) / 2 for mel in (real, made))
    return F.relu((one - other).abs() - bias).square().mean()


def cycle_loss(real: Tensor, again: Tensor) -> Tensor:
    """Eq. (8): absolute difference of mels [B, T, M] and what comes back of them in their own style."""
    return (real.float() - again.float()).abs().mean()


def gradient_penalty(mel: Tensor, logits: Tensor) -> Tensor:
    """R1 (arXiv:1801.04406, eq. 9) with gamma = 1: half the squared norm of the gradient of logits [B] by real mels.

    mel [B, T, M] must require a gradient; the penalty has one, too.
    """
    (slope,) = torch.autograd.grad(logits.float().sum(), mel, create_graph=True)
    return slope.float().square().flatten(1).sum(1).mean() / 2
