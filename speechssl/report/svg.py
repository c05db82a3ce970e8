"""Small SVG drawings: waveform, labelled timelines, time axis, bar charts. All text is escaped here.

Timelines use one user unit per frame, so that drawn widths are frame counts. No style attributes: the page's
content security policy forbids them.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechssl.report.colours import ink


@dataclass(frozen=True)
class Segment:
    """A stretch of a timeline, in frames (fractions allowed for labels that are not on the frame grid)."""

    start: float
    length: float
    label: str
    colour: str  # "#rrggbb", or "" for the theme's own
    title: str


@dataclass(frozen=True)
class Bar:
    """One bar of a chart: its value, the text on hovering, its colour ("" for the theme's own), its unit if any."""

    value: float
    title: str
    colour: str = ""
    unit: int | None = None


def waveform(samples: NDArray[np.float32], num_columns: int, samples_per_column: float) -> str:
    """Envelope between the lowest and the highest sample of every column, scaled to the recording's peak."""
    starts = (np.arange(num_columns) * samples_per_column).astype(np.int64)
    padded = np.pad(samples, (0, max(0, int(num_columns * samples_per_column) + 1 - len(samples))))
    low, high = np.minimum.reduceat(padded, starts), np.maximum.reduceat(padded, starts)
    peak = max(float(np.abs(padded).max()), 1e-5)
    upper = (100 - 96 * high / peak).round().astype(int).tolist()
    lower = (100 - 96 * low / peak).round().astype(int).tolist()
    points = [f"{x} {y}" for x, y in enumerate(upper)] + [f"{x} {y + 1}" for x, y in reversed([*enumerate(lower)])]
    return (
        f'<svg class="wave" viewBox="0 0 {num_columns - 1 or 1} 200" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M{"L".join(points)}Z"/></svg>'
    )


def timeline(segments: Sequence[Segment], span: int, *, name: str, frames: int | None = None) -> str:
    """Coloured stretches over `span` frames with their labels; class `name`; `frames` is stated as data-frames."""
    rects, texts = [], []
    for s in segments:
        fill = f' fill="{s.colour}"' if s.colour else ""
        label = html.escape(s.label)
        rects.append(
            f'<rect x="{s.start:g}" width="{s.length:g}" height="1"{fill} data-l="{label}">'
            f"<title>{html.escape(s.title)}</title></rect>"
        )
        if s.length >= 2:
            middle = 100 * (s.start + s.length / 2) / span
            shade = f' fill="{ink(s.colour)}"' if s.colour else ""
            texts.append(f'<text x="{middle:.2f}%" y="50%" data-n="{s.length:g}"{shade}>{label}</text>')
    stated = "" if frames is None else f' data-frames="{frames}"'
    return (
        f'<svg class="line {name}" aria-hidden="true"{stated}>'
        f'<svg viewBox="0 0 {span} 1" preserveAspectRatio="none" width="100%" height="100%">{"".join(rects)}</svg>'
        f"{''.join(texts)}</svg>"
    )


def axis(seconds: float, *, max_labels: float) -> str:
    """Ticks with times under a timeline that lasts `seconds`, at most `max_labels` of them (at least two) labelled."""
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60) if seconds / s <= max(2, max_labels)), 300)
    marks = []
    for k in range(int(5 * seconds / step + 1e-9) + 1):
        place = 100 * k * step / 5 / seconds
        text = ""
        if k % 5 == 0 and place < 97:
            first = ' class="first"' if k == 0 else ""
            text = f'<text x="{place:.2f}%" y="16"{first}>{k * step / 5:g} s</text>'
        marks.append(f'<line x1="{place:.2f}%" x2="{place:.2f}%" y2="{5 if k % 5 == 0 else 3}"/>{text}')
    return f'<svg class="axis" aria-hidden="true">{"".join(marks)}</svg>'


def bars(
    values: Iterable[Bar], *, label: str, ticks: Sequence[tuple[float, str]], top: float, grid: Sequence[float] = ()
) -> str:
    """A bar chart that `label` describes to screen readers; ticks are (place from 0 to 1, text), grid values."""
    values = list(values)
    gap = 0.12 if len(values) <= 60 else 0.0
    rects = []
    for k, bar in enumerate(values):
        height = 100 * bar.value / top if top else 0.0
        fill = f' fill="{bar.colour}"' if bar.colour else ""
        unit = "" if bar.unit is None else f' data-l="{bar.unit}"'
        rects.append(
            f'<rect x="{k + gap / 2:g}" y="{100 - height:.2f}" width="{1 - gap:g}" height="{height:.2f}"{fill}{unit}>'
            f"<title>{html.escape(bar.title)}</title></rect>"
        )
    marks = []
    for place, text in ticks:
        anchor = ' class="first"' if place < 0.02 else ' class="last"' if place > 0.98 else ""
        marks.append(f'<text x="{100 * place:.2f}%" y="13"{anchor}>{html.escape(text)}</text>')
    lines = []
    for value in grid:
        place = 100 - 100 * value / top
        lines.append(f'<line class="grid" x2="100%" y1="{place:.2f}%" y2="{place:.2f}%"/>'
                     f'<text x="100%" y="{place:.2f}%" dy="{-3 if place > 12 else 11}">{value:g}</text>')  # fmt: skip
    return (
        f'<svg class="bars" role="img" aria-label="{html.escape(label)}">{"".join(lines)}'
        f'<svg viewBox="0 0 {len(values) or 1} 100" preserveAspectRatio="none" width="100%" height="100%">'
        f"{''.join(rects)}</svg></svg>"
        f'<svg class="axis" aria-hidden="true">{"".join(marks)}</svg>'
    )
