"""Line charts as SVG: several curves over one axis. No style attributes: the page's policy forbids them.

A curve has at most `MAX_POINTS` points: of longer ones each point is the mean of its neighbours. Values that are not
finite leave a gap. Spikes do not flatten the rest: the axis ends where nearly all values do, and it is said how many
points lie beyond.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 500
COLOURS = 8  # classes c0..c7 of the style sheet; more curves begin again
_REACH = 4.0  # interquartile ranges beyond the quartiles that an axis still covers, where there are
_ENOUGH = 20  # points to tell outliers from a slope
_MARGIN = 0.02  # of the axis, so that no curve runs along the frame


@dataclass(frozen=True)
class Curve:
    """x and y [N]; `colour` counts from 0; `dots`: points with a thin line, for what is measured now and then."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    colour: int = 0
    dots: bool = False


@dataclass(frozen=True)
class Range:
    """Where an axis begins and ends."""

    low: float
    high: float

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """0 at the beginning, 100 at the end."""
        return 100 * (values - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Axes:
    """How a chart's axes are laid; by default as far as its points reach."""

    across: Range | None = None  # from the higher to the lower value: a falling axis
    up: Range | None = None
    at: Sequence[float] | None = None  # where x is labelled
    log: bool = False  # both: powers of ten; what is not above 0 leaves a gap. `across` and `up` are log10 then
    marked: float | None = None  # x of a line from top to bottom


_PLAIN = Axes()


def chart(curves: Sequence[Curve], *, label: str, x_name: str, axes: Axes = _PLAIN) -> str:
    """The drawing with its axes, which `label` describes to screen readers; "" where no value is finite."""
    curves = [thinned(_logarithms(curve) if axes.log else curve) for curve in curves]
    ys = np.concatenate([curve.y for curve in curves]) if curves else np.zeros(0)
    if not np.isfinite(ys).any():
        return ""
    across = axes.across or spread(np.concatenate([curve.x for curve in curves]), whole=True)
    up = axes.up or spread(ys)
    lines = []
    for value in decades(up) if axes.log else ticks(up):
        y = 100 - float(up.place(np.array(value)))
        lines.append(
            f'<line class="grid" x2="100%" y1="{y:.2f}%" y2="{y:.2f}%"/>'
            f'<text x="2" y="{y:.2f}%" dy="{-3 if y > 7 else 11}">{_shown(value, axes):.4g}</text>'
        )
    if axes.marked is not None:
        x = float(across.place(np.array(axes.marked)))
        lines.append(f'<line class="mark" x1="{x:.2f}%" x2="{x:.2f}%" y2="100%"/>')
    drawn = "".join(_drawn(curve, across, up) for curve in curves)
    beyond = int(((ys > up.high) | (ys < up.low)).sum())
    note = f'<p class="facts">{beyond} of {len(ys)} points lie beyond the axis.</p>' if beyond else ""
    at = axes.at if axes.at is not None else decades(across) if axes.log else ticks(across)
    places = [(float(across.place(np.array(value))), _shown(value, axes)) for value in at]
    marks = "".join(f'<text x="{place:.2f}%" y="13"{_anchor(place)}>{value:g}</text>' for place, value in places)
    return (
        f'<svg class="curves" role="img" aria-label="{html.escape(label)}">{"".join(lines)}'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">{drawn}</svg></svg>'
        f'<svg class="axis" aria-hidden="true">{marks}</svg><p class="facts axis-name">{html.escape(x_name)}</p>{note}'
    )


def thinned(curve: Curve) -> Curve:
    """At most MAX_POINTS points; a group's mean is over its finite values."""
    if len(curve.x) <= MAX_POINTS:
        return curve
    groups = np.array_split(np.arange(len(curve.x)), MAX_POINTS)
    x = np.array([curve.x[group].mean() for group in groups])
    y = np.array([_finite_mean(curve.y[group]) for group in groups])
    return Curve(curve.name, x, y, curve.colour, curve.dots)


def spread(values: NDArray[np.float64], *, whole: bool = False) -> Range:
    """An axis for these values; without far outliers unless `whole`."""
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    if not whole:
        first, third = (float(q) for q in np.quantile(values, [0.25, 0.75]))
        reach = _REACH * (third - first)
        if reach and len(values) >= _ENOUGH:
            low, high = max(low, first - reach), min(high, third + reach)
    if low == high:
        low, high = low - (abs(low) or 1) / 20, high + (abs(high) or 1) / 20
    margin = 0.0 if whole else _MARGIN * (high - low)
    return Range(low - margin, high + margin)


def ticks(axis: Range, most: int = 5) -> list[float]:
    """Round values on the axis, 1, 2 or 5 times a power of ten apart."""
    raw = (axis.high - axis.low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(axis.low / step - 1e-9)
    found = [k * step for k in range(first, first + 2 * most) if k * step <= axis.high + 1e-9 * step]
    return [float(f"{value:.6g}") for value in found]


def decades(axis: Range) -> list[float]:
    """log10 of the powers of ten on the axis, and of 2 and 5 times them where those are few."""
    steps = (1, 2, 5) if axis.high - axis.low < 2 else (1,)
    powers = range(math.floor(axis.low), math.ceil(axis.high) + 1)
    found = [power + math.log10(step) for power in powers for step in steps]
    return [value for value in found if axis.low - 1e-9 <= value <= axis.high + 1e-9]


def legend(names: Sequence[str]) -> str:
    """Which colour is whose; nothing where there is but one."""
    if len(names) < 2:
        return ""
    entries = (f"<span>{swatch(number)}{html.escape(name)}</span>" for number, name in enumerate(names))
    return f'<p class="legend">{" ".join(entries)}</p>'


def swatch(number: int) -> str:
    """A short line in the colour of curve `number`."""
    line = f'<path class="c{number % COLOURS}" d="M0 5h10"/>'
    return f'<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">{line}</svg>'


def _logarithms(curve: Curve) -> Curve:
    x, y = (np.log10(values, out=np.full(len(values), math.nan), where=values > 0) for values in (curve.x, curve.y))
    return replace(curve, x=x, y=y)


def _shown(value: float, axes: Axes) -> float:
    return 10**value if axes.log else value


def _drawn(curve: Curve, across: Range, up: Range) -> str:
    x, y = across.place(curve.x), 100 - up.place(curve.y)
    parts, pen = [], "M"
    for px, py in zip(x.tolist(), y.tolist(), strict=True):
        if math.isfinite(py):
            parts.append(f"{pen}{px:.2f} {py:.2f}")
            pen = "L"
        else:
            pen = "M"
    colour = f"c{curve.colour % COLOURS}"
    drawn = f'<path class="{colour}{" thin" if curve.dots else ""}" d="{"".join(parts)}"/>'
    if not curve.dots:
        return drawn
    for px, py, at, value in zip(x.tolist(), y.tolist(), curve.x.tolist(), curve.y.tolist(), strict=True):
        if math.isfinite(py):
            title = html.escape(f"{curve.name}, {at:g}: {value:.5g}")
            drawn += f'<path class="{colour} dot" d="M{px:.2f} {py:.2f}h0"><title>{title}</title></path>'
    return drawn


def _finite_mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _anchor(place: float) -> str:
    return ' class="first"' if place < 2 else ' class="last"' if place > 98 else ""
