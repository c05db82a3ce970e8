"""Diffusion with a continuous noise level: WaveGrad's training (arXiv:2009.00713, algorithm 1) and DDPM's or DDIM's way
back (arXiv:2006.11239, arXiv:2010.02502).

A level a is the square root of alpha bar: the point is a data + sqrt(1 - a²) noise, 1 is clean. Training draws levels
between those of neighbouring steps of a schedule, so that any schedule can be gone back by.

Whoever says the noise has to be right to parts in thousands where there is hardly anything else, for its error is
divided by a to find the data. An error of the velocity (arXiv:2202.00512, appendix D) is never more than one of the
data.

differs: squared error of the noise as in DDPM, where WaveGrad has the absolute one.

B utterances, T frames, C channels.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from speechssl.errors import ConfigError

Noise = Callable[[Tensor, Tensor], Tensor]  # the noise in points [B, ...] of levels [B]


def levels(steps: int = 1000, *, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Levels [steps + 1] float64, falling from 1: of betas that rise linearly."""
    if steps < 1 or not 0 < first <= last < 1:
        raise ConfigError(f"a noise schedule needs steps >= 1 and 0 < first <= last < 1, got {steps}, {first}, {last}")
    betas = torch.linspace(first, last, steps, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0).sqrt()])


def way_back(schedule: Tensor, steps: int) -> list[float]:
    """steps + 1 rising levels of a schedule, evenly spaced from its last to 1."""
    if not 1 <= steps < len(schedule):
        raise ConfigError(f"steps must be 1..{len(schedule) - 1}, got {steps}")
    places = torch.linspace(len(schedule) - 1, 0, steps + 1).round().long()
    return [float(level) for level in schedule[places]]


def draw_level(schedule: Tensor, uniform: Tensor) -> Tensor:
    """Levels [B] of uniform numbers [B] in 0..1: a step, and a level between it and the next (algorithm 1)."""
    place = uniform.double() * (len(schedule) - 1)
    step = place.floor().clamp(0, len(schedule) - 2).long()
    upper, lower = schedule[step], schedule[step + 1]
    return upper + (place - step) * (lower - upper)


def noised(data: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """a data + sqrt(1 - a²) noise of data, noise [B, ...] and levels [B]."""
    a = level.to(data.dtype).view(-1, *[1] * (data.ndim - 1))
    return a * data + (1 - a.square()).clamp_min(0).sqrt() * noise


def velocity(data: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """a noise - sqrt(1 - a²) data of data, noise [B, ...] and levels [B]: v of arXiv:2202.00512."""
    a = level.to(data.dtype).view(-1, *[1] * (data.ndim - 1))
    return a * noise - (1 - a.square()).clamp_min(0).sqrt() * data


def noise_of(found: Tensor, point: Tensor, level: Tensor) -> Tensor:
    """The noise in points [B, ...] of levels [B] whose velocity was found: sqrt(1 - a²) point + a velocity."""
    a = level.to(point.dtype).view(-1, *[1] * (point.ndim - 1))
    return (1 - a.square()).clamp_min(0).sqrt() * point + a * found


def noise_loss(predicted: Tensor, noise: Tensor, valid: Tensor) -> Tensor:
    """Squared error of the noise or velocity: the mean over channels, summed over frames.

    predicted, noise [B, T, C]; valid [B, T].
    """
    wide = torch.promote_types(predicted.dtype, torch.float32)
    return (predicted.to(wide) - noise.to(wide)).square().mean(2)[valid].sum()


@torch.no_grad()
def denoise(
    predict: Noise, noise: Tensor, path: Sequence[float], *, eta: float = 0.0,
    draw: Callable[[], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Data from noise [B, ...] along rising levels `path`, Eq. (12) of DDIM. eta 0: nothing is drawn; 1: DDPM.

    draw: fresh noise [B, ...], needed where eta > 0.
    """
    if eta < 0 or (eta and draw is None) or any(not 0 < a < b <= 1 for a, b in pairwise(path)):
        raise ConfigError(f"denoising needs rising levels in 0..1, eta >= 0, and noise to draw where eta > 0, got "
                          f"eta={eta}, {list(path)[:3]} ...")  # fmt: skip
    x = noise
    for a, b in pairwise(path):
        found = predict(x, noise.new_full((len(noise),), a))
        data = (x - (1 - a * a) ** 0.5 * found) / a
        sigma = eta * ((1 - b * b) / (1 - a * a)) ** 0.5 * (1 - (a / b) ** 2) ** 0.5
        x = b * data + max(0.0, 1 - b * b - sigma * sigma) ** 0.5 * found
        if sigma and draw is not None:
            x = x + sigma * draw()
    return x
