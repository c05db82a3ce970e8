"""Conditional flow matching with straight paths (Lipman et al., arXiv:2210.02747, section 4.1, its optimal transport
paths with sigma_min = 0): noise at time 0, data at time 1, and a network that tells the velocity between them.

B utterances, T frames, C channels.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from speechssl.errors import ConfigError

Velocity = Callable[[Tensor, Tensor], Tensor]  # of points [B, ...] at times [B]
Method = Literal["euler", "midpoint"]


def on_path(noise: Tensor, data: Tensor, time: Tensor) -> Tensor:
    """The point (1 - t) noise + t data, Eq. (22); noise, data: [B, ...], time: [B]."""
    t = time.view(-1, *[1] * (data.ndim - 1))
    return (1 - t) * noise + t * data


def flow_loss(velocity: Tensor, noise: Tensor, data: Tensor, valid: Tensor) -> Tensor:
    """Squared error of the velocity, whose truth is data - noise (Eq. (23)): a mean over channels, summed over frames.

    velocity, noise, data: [B, T, C]; valid [B, T] are real frames. float32 or wider.
    """
    wide = torch.promote_types(velocity.dtype, torch.float32)
    return (velocity.to(wide) - (data - noise).to(wide)).square().mean(2)[valid].sum()


@torch.no_grad()
def solve(velocity: Velocity, noise: Tensor, *, steps: int, method: Method = "midpoint") -> Tensor:
    """The point at time 1 of the flow that begins at noise [B, ...], in equal steps; midpoint asks twice a step."""
    if steps < 1 or method not in ("euler", "midpoint"):
        raise ConfigError(f"a flow needs steps >= 1 and method euler or midpoint, got {steps} and {method!r}")
    x, width = noise, 1 / steps
    for step in range(steps):
        time = noise.new_full((len(noise),), step * width)
        slope = velocity(x, time)
        if method == "midpoint":
            slope = velocity(x + width / 2 * slope, time + width / 2)
        x = x + width * slope
    return x
