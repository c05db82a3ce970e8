"""How often units occur and how long they last, beside the phones; a table of all units.

P phones, V units.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechssl.report import svg
from speechssl.report.curves import Axes, Curve, Range, chart, ticks
from speechssl.report.parts import number, table

LONGEST_RUN = 15  # frames; longer runs share the last bar
_MOST_ROWS = 2000
_TOP_PHONES = 3  # of a unit, in the table

IntArray = NDArray[np.integer]


def durations(run_lengths: IntArray, step_ms: float, *, label: str, top: float) -> str:
    """Bars of the shares of run_lengths [LONGEST_RUN + 1], those of 0 frames apart; `top` is the axis's end in %."""
    runs = run_lengths[1:]
    names = [f"{k * step_ms:g}" + (" ms or more" if k == LONGEST_RUN else " ms") for k in range(1, LONGEST_RUN + 1)]
    bars = [svg.Bar(float(share), f"{name}: {share:.1f} %") for name, share in zip(names, shares(runs), strict=True)]
    places = [((k - 0.5) / LONGEST_RUN, f"{k * step_ms:g}") for k in range(1, LONGEST_RUN - 2, 3)]
    places.append((1.0, f"≥{LONGEST_RUN * step_ms:g} ms"))
    grid = [value for value in ticks(Range(0, top), 3) if value]
    return svg.bars(bars, label=label, ticks=places, top=top, grid=grid)


def shares(counts: IntArray) -> NDArray[np.float64]:
    """In %; zeros where nothing was counted."""
    return 100 * counts / max(1, int(counts.sum()))


def median_frames(run_lengths: IntArray) -> int:
    """The median of lengths counted as [LONGEST_RUN + 1]; 0 where nothing was."""
    total = int(run_lengths.sum())
    return int(np.searchsorted(np.cumsum(run_lengths), (total + 1) // 2)) if total else 0


def ranks(counts: Sequence[tuple[str, IntArray]], *, label: str) -> str:
    """Share of the frames by rank, both in powers of ten, a curve for each (name, counts); "" where none occurs."""
    curves = []
    for colour, (name, values) in enumerate(counts):
        seen = np.sort(values[values > 0])[::-1]
        curves.append(Curve(name, np.arange(1.0, len(seen) + 1), shares(seen), colour))
    curves = [curve for curve in curves if len(curve.x)]
    if not curves:
        return ""
    ends = np.log10(max(2.0, *(curve.x[-1] for curve in curves)))
    lowest = min(float(curve.y[-1]) for curve in curves)
    highest = max(float(curve.y[0]) for curve in curves)
    up = Range(np.log10(lowest) - 0.1, np.log10(highest) + 0.15)
    return chart(curves, label=label, x_name="rank", axes=Axes(Range(-0.12, ends + 0.02), up, log=True))


def units_table(frames: IntArray, runs: IntArray, joint: IntArray, phones: Sequence[str], rate_hz: float) -> str:
    """A row for each unit, the most frequent first: frames [V], runs [V], joint [P, V] label frames."""
    order = np.argsort(-frames, kind="stable")[:_MOST_ROWS]
    total, seen = max(1, int(frames.sum())), joint.sum(0)
    rows = []
    for unit in order.tolist():
        length = number(1000 * float(frames[unit]) / runs[unit] / rate_hz, " ms") if runs[unit] else "—"
        row = [str(unit), str(frames[unit]), f"{100 * frames[unit] / total:.2f} %", length]
        if len(phones):
            best = np.argsort(-joint[:, unit], kind="stable")[:_TOP_PHONES]
            named = [f"{phones[p]} {100 * joint[p, unit] / seen[unit]:.0f} %" for p in best if joint[p, unit]]
            row.append(", ".join(named))
        rows.append(row)
    heads = ["unit", "frames", "share", "lasts on average", *(["most frequent phones"] if len(phones) else [])]
    return table(heads, rows)
