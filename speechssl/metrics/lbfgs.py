"""L-BFGS (Liu and Nocedal 1989) for smooth convex functions: a few vectors in place of second derivatives.

torch.optim's imports a compiler that is not wanted here, which takes seconds. Steps: the full one first, shorter ones
while the value does not fall enough (Armijo); in a convex function well scaled that is seldom.

N numbers.
"""

from collections.abc import Callable

from torch import Tensor

_ENOUGH = 1e-4  # of what the slope promises (Armijo's constant)
_SHORTEST = 1e-10  # step that is still tried

Function = Callable[[Tensor], tuple[float, Tensor]]


def minimize(
    function: Function, start: Tensor, *, iterations: int, history: int = 10, largest_gradient: float = 1e-5,
    least_change: float = 1e-7,
) -> Tensor:  # fmt: skip
    """Where `function`, which gives value and gradient [N] at [N], is least, from `start` [N].

    Stops after so many iterations, where no part of the gradient is larger than `largest_gradient`, where an iteration
    changes the value by less than `least_change`, or where no step lowers it any more.
    """
    x = start.clone()
    value, gradient = function(x)
    pairs: list[tuple[Tensor, Tensor, float]] = []  # steps, what they changed the gradient by, 1 / their product
    for _ in range(iterations):
        if float(gradient.abs().max()) <= largest_gradient:
            break
        direction = -_newton(gradient, pairs)
        slope = float(direction @ gradient)
        if not pairs:
            direction, slope = (one * min(1.0, 1 / float(gradient.abs().sum())) for one in (direction, slope))
        found = _step(function, x, direction, value, slope)
        if found is None:
            break
        step, new_value, new_gradient = found
        change = new_gradient - gradient
        product = float(step @ change)
        if product > 1e-10 * float(change.square().sum()):  # else rounding: no curvature to learn from
            pairs = [*pairs, (step, change, 1 / product)][-history:]
        x, lowered = x + step, value - new_value
        value, gradient = new_value, new_gradient
        if lowered < least_change:
            break
    return x


def _step(function: Function, x: Tensor, direction: Tensor, value: float, slope: float
          ) -> tuple[Tensor, float, Tensor] | None:  # fmt: skip
    """A step that lowers the value enough, with value and gradient there."""
    length = 1.0
    while length > _SHORTEST:
        step = length * direction
        new_value, gradient = function(x + step)
        if new_value <= value + _ENOUGH * length * slope:
            return step, new_value, gradient
        curved = new_value - value - length * slope  # where the parabola through both values and the slope is least
        shorter = -slope * length * length / (2 * curved) if curved > 0 else 0.0
        length = min(max(shorter, 0.1 * length), 0.5 * length)
    return None


def _newton(gradient: Tensor, pairs: list[tuple[Tensor, Tensor, float]]) -> Tensor:
    """The inverse second derivatives, as the pairs have them, times the gradient: the two loops of the paper."""
    result = gradient.clone()
    parts = []
    for step, change, inverse in reversed(pairs):
        part = inverse * float(step @ result)
        parts.append(part)
        result -= part * change
    if pairs:
        step, change, inverse = pairs[-1]
        result *= 1 / (inverse * float(change.square().sum()))
    for (step, change, inverse), part in zip(pairs, reversed(parts), strict=True):
        result += (part - inverse * float(change @ result)) * step
    return result
