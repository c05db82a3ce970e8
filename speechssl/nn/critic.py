"""A Lipschitz critic by gradient penalty (arXiv:1704.00028), for the Wasserstein dependency measure.

N pairs of a frame z [D] and a context c [C].
"""

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(critic: Callable[[Tensor, Tensor], Tensor], z: Tensor, c: Tensor, slope: float = 1.0) -> Tensor:
    """(|∇f(z, c)| / L - 1)^2 over pairs z [N, D], c [N, C], summed, L the `slope` asked for.

    The gradient is with respect to both together.

    critic: scores [N] of pairs, each of its own pair only. Works without gradients being recorded, too (validation).
    """
    recording = torch.is_grad_enabled()
    with torch.enable_grad():
        z, c = (x if x.requires_grad else x.detach().requires_grad_() for x in (z, c))
        by_z, by_c = torch.autograd.grad(critic(z, c).sum(), (z, c), create_graph=recording)
    squares = by_z.float().square().sum(-1) + by_c.float().square().sum(-1)
    return ((squares + 1e-12).sqrt() / slope - 1).square().sum()


def between(true: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
    """Random points on the lines from `true` to `other`, both [N, D]."""
    share = torch.rand(len(true), 1, generator=generator).to(true)
    return share * true + (1 - share) * other
