"""Charts of scores: how much units change when recordings do, and what each layer of an encoder knows."""

import html
from collections.abc import Sequence

import numpy as np

from speechssl.report.curves import Axes, Curve, Range, chart, legend
from speechssl.report.parts import share, table
from speechssl.report.score_files import Edits, Layers

_STRENGTHS = {
    "noise": ("noise", "signal-to-noise ratio in dB"),
    "pitch": ("pitch", "semitones up"),
    "stretch": ("tempo", "times as fast"),
    "reverb": ("reverberation", "reverberation time in s"),
}  # fmt: skip
_FALLING = ("noise",)  # the weaker the higher the number
_NO_CHANGE = {"pitch": 0.0, "stretch": 1.0}  # where there is nothing to edit
_LAYER_NAMES = {
    "probe": "phone probe accuracy", "pnmi": "PNMI", "boundary_f1": "boundary F1",
    "r_value": "R-value",
}  # fmt: skip
_MOST_NAMED = 7  # layers named under the axis
_SIDE = 0.2  # of the axis, left free for its labels


def edit_charts(edits: Sequence[Edits]) -> str:
    """A chart for each kind of change, all of one height; behind them the numbers."""
    top = max((one.ued for one in edits if one.ued == one.ued), default=0.0)
    up = Range(0.0, 1.15 * top or 1.0)
    kinds = list(dict.fromkeys(one.kind for one in edits))
    figures = []
    for number, kind in enumerate(kinds):
        own = sorted((one for one in edits if one.kind == kind), key=lambda one: one.strength)
        points = {one.strength: one.ued for one in own}
        none = _NO_CHANGE.get(kind)
        if none is not None and own[0].strength < none < own[-1].strength:  # no straight line over the gap
            points.setdefault(none, 0.0)
        x, y = np.array(sorted(points)), np.array([points[strength] for strength in sorted(points)])
        title, x_name = _STRENGTHS.get(kind, (kind, "strength"))
        axes = Axes(_with_room(x, falling=kind in _FALLING), up, _apart(x))
        drawn = chart([Curve(title, x, y, number, dots=True)], label=f"Unit edit distance by {x_name}", x_name=x_name,
                      axes=axes)  # fmt: skip
        drawn = drawn or '<p class="facts">undefined</p>'
        figures.append(f"<figure><figcaption>{html.escape(title)}</figcaption>{drawn}</figure>")
    rows = [(one.kind, f"{one.strength:g}", share(one.ued), share(one.unit_error_rate), str(one.utterances))
            for one in edits]  # fmt: skip
    numbers = table(["change", "strength", "unit edit distance", "unit error rate", "utterances"], rows)
    return (f'<div class="charts small">{"".join(figures)}</div>'
            f"<details><summary>The numbers</summary>{numbers}</details>")  # fmt: skip


def layer_charts(layers: Sequence[Layers], own: int | None) -> str:
    """A chart for each score, a curve for each file; `own` is the layer that the unit model uses."""
    numbers = np.concatenate([[row["layer"] for row in one.rows] for one in layers])
    at = np.unique(numbers).tolist()
    at = at[:: -(-len(at) // _MOST_NAMED)]
    across, marked = _with_room(numbers), None if own is None or own not in numbers else float(own)
    figures = []
    for key, name in _LAYER_NAMES.items():
        curves = [Curve(one.encoder, np.array([row["layer"] for row in one.rows]),
                        np.array([row[key] for row in one.rows]), number, dots=True)
                  for number, one in enumerate(layers)]  # fmt: skip
        ys = np.concatenate([curve.y for curve in curves])
        up = _with_room(ys[np.isfinite(ys)]) if np.isfinite(ys).any() else None
        drawn = chart(curves, label=f"{name} by layer", x_name="layer", axes=Axes(across, up, at, marked=marked))
        drawn = drawn or '<p class="facts">undefined</p>'
        figures.append(f"<figure><figcaption>{html.escape(name)}</figcaption>{drawn}</figure>")
    rows = [(str(int(row["layer"])), one.encoder, *(share(row[key]) for key in _LAYER_NAMES))
            for one in layers for row in one.rows]  # fmt: skip
    table_ = table(["layer", "encoder", *_LAYER_NAMES.values()], rows)
    return (f'{legend([one.encoder for one in layers])}<div class="charts small">{"".join(figures)}</div>'
            f"<details><summary>The numbers</summary>{table_}</details>")  # fmt: skip


def _with_room(x: np.ndarray, *, falling: bool = False) -> Range:
    low, high = float(x.min()), float(x.max())
    room = (high - low) or abs(low) or 1.0
    if falling:
        return Range(high + _SIDE * room, low - _SIDE / 3 * room)
    return Range(low - _SIDE * room, high + _SIDE / 3 * room)


def _apart(x: np.ndarray) -> list[float]:
    """Of ascending values those that can be labelled without touching each other."""
    least = 0.1 * (float(x.max() - x.min()) or 1.0)
    kept: list[float] = []
    for value in x.tolist():
        if not kept or value - kept[-1] >= least:
            kept.append(value)
    return kept
