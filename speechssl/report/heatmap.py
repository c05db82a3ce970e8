"""Phones against units as a picture: P(phone | unit), a column for each unit, a row for each phone.

Units stand by their most frequent phone, in the phones' order, the purer first; so good units make a staircase. The
numbers lie beside the picture as text, for the page's script to show them; without it there is the table of units.

P phones, V units that have labelled frames, the most frequent MOST_UNITS of them.
"""

import html
import json
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from speechssl.report import png, spectrogram, svg
from speechssl.report.phone_classes import order_phones

MOST_UNITS = 1000
_ROW_PX, _DENSE_ROW_PX, _DENSE = 17, 12, 45  # height of a row; of one among more than _DENSE
_LONGEST = 7  # characters of a phone's name beside its row
_GAMMA = 2 / 3  # of the colours: a tenth is not nearly black


def heat_map(joint: NDArray[np.integer], labels: Sequence[str], colours: Sequence[str]) -> tuple[str, str]:
    """The drawing and the style rule that goes with it, of joint [len(labels), len(colours)] label frames; or ""s."""
    if not joint.any():
        return "", ""
    phones, classes = order_phones(labels, joint.sum(1))
    units = order_units(joint[phones])
    counts = joint[np.ix_(phones, units)]
    given_unit = counts / counts.sum(0)
    names = [labels[p] for p in phones]
    shades = (given_unit**_GAMMA * 255).round().astype(np.uint8)
    picture = png.encode(shades, spectrogram.palette())
    alt = f"Heat map of P(phone | unit): {len(phones)} phones as rows, {len(units)} units as columns"
    data = {
        "phones": names, "units": units, "counts": counts.tolist(), "frames": joint[phones].sum(1).tolist(),
    }  # fmt: skip
    owners = [names[p] for p in counts.argmax(0).tolist()]
    height = len(phones) * (_ROW_PX if len(phones) <= _DENSE else _DENSE_ROW_PX)
    drawn = f"""<div class="heat"><div class="corner" aria-hidden="true"></div>
<output class="readout" aria-live="polite"></output>{_names(names, classes)}
<div class="cells" tabindex="0" role="group" aria-label="{html.escape(alt)}" data-map="{_attribute(data)}">
<img alt="" src="{png.data_uri(picture, "image/png")}">{_lines(classes)}
<div class="column" hidden></div><div class="row" hidden></div></div>
<div class="beside" aria-hidden="true">unit</div>
<div class="under" data-frames="{len(units)}">{_strip(units, colours)}{_groups(owners)}</div></div>{_scale()}"""
    return drawn, f".heat .cells,.heat .names{{height:{height}px}}"


def order_units(joint: NDArray[np.integer]) -> list[int]:
    """Units with labels in joint [P, V], by the first of their most frequent phones, then by its share, falling."""
    seen = joint.sum(0)
    frequent = np.argsort(-seen, kind="stable")[:MOST_UNITS]
    found = frequent[seen[frequent] > 0]
    top = joint[:, found].argmax(0)
    share = joint[top, found] / seen[found]
    return [int(u) for u in found[np.lexsort((found, -share, top))]]


def _names(names: Sequence[str], classes: Sequence[str]) -> str:
    rows = len(names)
    texts = [f'<text x="100%" y="{100 * (k + 0.5) / rows:.2f}%">{html.escape(_short(name))}</text>'
             for k, name in enumerate(names)]  # fmt: skip
    for start, label in _starts(classes):
        texts.append(f'<text class="class" x="0" y="{100 * (start + 0.5) / rows:.2f}%">{html.escape(label)}</text>')
    return f'<svg class="names" aria-hidden="true">{"".join(texts)}</svg>'


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _lines(classes: Sequence[str]) -> str:
    """Where one class of phones ends."""
    places = [f"{100 * start / len(classes):.2f}" for start, _ in _starts(classes) if start]
    lines = "".join(f'<line x2="100%" y1="{y}%" y2="{y}%"/>' for y in places)
    return f'<svg class="between" aria-hidden="true">{lines}</svg>'


def _starts(classes: Sequence[str]) -> list[tuple[int, str]]:
    return [(k, label) for k, label in enumerate(classes) if not k or classes[k - 1] != label]


def _strip(units: Sequence[int], colours: Sequence[str]) -> str:
    segments = [svg.Segment(k, 1, str(unit), colours[unit], f"unit {unit}") for k, unit in enumerate(units)]
    return svg.timeline(segments, len(units), name="units")


def _groups(owners: Sequence[str]) -> str:
    segments, start = [], 0
    for name, group in groupby(owners):
        count = len(list(group))
        title = f"{count} unit{'' if count == 1 else 's'} with {name} as the most frequent phone"
        segments.append(svg.Segment(start, count, name, "", title))
        start += count
    return svg.timeline(segments, len(owners), name="labels")


def _scale() -> str:
    """What the colours mean."""
    ramp = png.encode(np.arange(256, dtype=np.uint8)[None], spectrogram.palette())
    places = ((0.0, "0", "first"), (0.25, "", ""), (0.5, "", ""), (0.75, "", ""), (1.0, "100 %", "last"))
    marks = "".join(
        f'<text x="{100 * place:g}%" y="13" class="{side}">{text or format(100 * place ** (1 / _GAMMA), ".0f")}</text>'
        for place, text, side in places
    )
    return (
        f'<div class="scale"><img alt="Colours from dark, 0 %, to light, 100 %" '
        f'src="{png.data_uri(ramp, "image/png")}"><svg class="axis" aria-hidden="true">{marks}</svg>'
        '<p class="facts">P(phone | unit)</p></div>'
    )


def _attribute(value: object) -> str:
    return html.escape(json.dumps(value, separators=(",", ":")))
