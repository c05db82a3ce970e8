"""The page of units: what stands on it. All text is escaped here."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechssl.metrics.units import UnitCounts
from speechssl.report import svg, utterance
from speechssl.report.colours import unit_colours
from speechssl.report.document import asset, document, duration, plural
from speechssl.report.utterance import Recording
from speechssl.units.units import Units

MAX_PAGE_BYTES = 15_000_000
MAX_UTTERANCE_S = 30.0
_LONGEST_RUN = 15  # frames; longer runs share the last bar


@dataclass(frozen=True)
class Failure:
    """An input that gave no units: its id, the reason code, the message."""

    id: str
    code: str
    message: str


@dataclass(frozen=True)
class Page:
    """All that a page says. `recordings` are drawn as far as the page's size allows; `statistics` cover the corpus."""

    title: str
    subtitle: str
    statistics: "Statistics"
    recordings: Sequence[Recording]
    failures: Sequence[Failure] = ()
    banner: str = ""  # a warning on top, e.g. that the speech is synthetic
    real_time_factor: float | None = None  # processing time / audio time
    codebook: NDArray[np.float32] | None = None  # [V, C], so that similar units get similar colours
    card: Mapping[str, Any] = field(default_factory=dict)  # the unit model's card
    sidecar: Mapping[str, Any] = field(default_factory=dict)  # how the units were made
    source: Sequence[str] = ()  # paragraphs on where the recordings come from: package, licence, attribution


class Statistics:
    """Counts over all utterances of a corpus. Memory does not grow with it."""

    def __init__(self, size: int, rate_hz: float) -> None:
        self.counts = UnitCounts(size, unit_rate=rate_hz, label_rate=rate_hz)
        self.run_lengths = np.zeros(_LONGEST_RUN + 1, np.int64)  # [k]: runs of k frames; 0 stays empty

    def add(self, units: Units) -> None:
        """Count one utterance."""
        self.counts.add(units.frames())
        self.run_lengths += np.bincount(units.dedup().durations.clip(0, _LONGEST_RUN), minlength=_LONGEST_RUN + 1)


def render(page: Page) -> str:
    """The HTML document."""
    size = page.statistics.counts.frames.size
    colours = unit_colours(size, page.codebook)
    sections: list[str] = []
    rules: list[str] = []
    used = 0
    for number, recording in enumerate(page.recordings):
        section = utterance.section(recording, number, colours, MAX_UTTERANCE_S)
        if used + len(section) > MAX_PAGE_BYTES and sections:
            break
        used += len(section)
        sections.append(section)
        rules.append(utterance.width_rule(recording, number, MAX_UTTERANCE_S))
    help_text = _HELP.format("" if page.codebook is None else _COLOURS)
    missing = page.statistics.counts.utterances - len(sections)
    counted = f"{missing} more utterance{' is' if missing == 1 else 's are'} counted but not drawn."
    more = f'<p class="note">{counted}</p>' if missing > 0 else ""
    failed = len(page.failures)
    skipped = f'<p class="warning"><a href="#failures">{plural(failed, "input")} skipped</a></p>' if failed else ""
    body = f"""<a class="skip" href="#utterances">Skip to the utterances</a>
<header class="top"><h1>{html.escape(page.title)}</h1><p class="lead">{html.escape(page.subtitle)}</p>
{f'<p class="warning" role="note">{html.escape(page.banner)}</p>' if page.banner else ""}{skipped}
{_tiles(page)}</header><main>
<section id="utterances"><h2>Utterances</h2>{help_text if sections else "<p>No utterance gave units.</p>"}
{"".join(sections)}{more}</section>
{_charts(page.statistics, colours)}
{_failures(page.failures)}
{_provenance(page)}
</main>"""
    return document(page.title, body, style="\n".join(rules), script=asset("page.js"))


_HELP = (
    '<p class="help">Click a picture, or focus it and use the arrow keys, to move from unit to unit; '
    "<kbd>Space</kbd> plays, <kbd>Enter</kbd> highlights the unit everywhere on the page, <kbd>Esc</kbd> ends "
    "that.{}</p>"
)
_COLOURS = " Similar units have similar colours."


def _tiles(page: Page) -> str:
    scores = page.statistics.counts.scores()
    tiles = [
        ("audio", duration(scores.seconds), plural(scores.utterances, "utterance")),
        ("bitrate", _number(scores.bitrate, " bit/s"), f"{_number(scores.entropy_bitrate)} bit/s by entropy"),
        ("units", _number(scores.unit_rate, " /s"), "after merging repeats"),
        ("in use", f"{scores.active_codes} of {scores.num_units}", f"perplexity {_number(scores.perplexity)}"),
    ]
    if page.real_time_factor:
        tiles.append(
            (
                "speed",
                f"{1 / page.real_time_factor:.0f}×",
                f"real-time factor {page.real_time_factor:.4f}, start included",
            )
        )
    cells = (f"<div><dt>{name}</dt><dd>{value}</dd><dd>{more}</dd></div>" for name, value, more in tiles)
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _charts(statistics: Statistics, colours: Sequence[str]) -> str:
    frames = statistics.counts.frames
    total = int(frames.sum())
    if not total:
        return ""
    order = np.argsort(-frames, kind="stable").tolist()
    ranked = [
        svg.Bar(float(frames[u]), f"unit {u}: {frames[u]} frames, {100 * frames[u] / total:.2f} %", colours[u], unit=u)
        for u in order
    ]
    ticks = [(0.0, "most frequent unit"), (1.0, f"rank {len(order)}")]
    usage = svg.bars(ranked, label="Frames per unit, most frequent first", ticks=ticks, top=float(frames.max()))
    runs = statistics.run_lengths[1:]
    step_ms = 1000 / statistics.counts.unit_rate
    names = [f"{k * step_ms:g}" + (" ms or more" if k == _LONGEST_RUN else " ms") for k in range(1, _LONGEST_RUN + 1)]
    shares = 100 * runs / runs.sum()
    bars = [svg.Bar(float(share), f"{name}: {share:.1f} %") for name, share in zip(names, shares, strict=True)]
    places = [((k - 0.5) / _LONGEST_RUN, f"{k * step_ms:g}") for k in range(1, _LONGEST_RUN - 2, 3)]
    places.append((1.0, f"≥{_LONGEST_RUN * step_ms:g} ms"))
    lengths = svg.bars(bars, label="Share of units per duration", ticks=places, top=float(shares.max()))
    mean_ms = float(total / runs.sum()) * step_ms
    top = ", ".join(f"{u} ({100 * frames[u] / total:.1f} %)" for u in order[:5])
    return f"""<section id="charts"><h2>The units</h2><div class="charts">
<figure><figcaption>How often each unit occurs, by rank</figcaption>{usage}
<p class="facts">Most frequent: {top}. {int((frames == 0).sum())} units do not occur here.</p></figure>
<figure><figcaption>How long a unit lasts</figcaption>{lengths}
<p class="facts">{shares[0]:.0f} % last one frame; the mean is {mean_ms:.0f} ms.</p></figure></div></section>"""


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    rows = (
        f'<tr><th scope="row">{html.escape(f.id)}</th><td><code>{html.escape(f.code)}</code></td>'
        f"<td>{html.escape(f.message)}</td></tr>"
        for f in failures
    )
    return f"""<section id="failures"><h2>Skipped</h2><div class="scroll"><table>
<thead><tr><th scope="col">input</th><th scope="col">reason</th><th scope="col">what was found</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table></div></section>"""


def _provenance(page: Page) -> str:
    parts = [f"<p>{html.escape(line)}</p>" for line in page.source]
    for title, values in (("Unit model", page.card), ("How these units were made", page.sidecar)):
        if values:
            rows = "".join(
                f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
                for name, value in _flatten(values)
            )
            parts.append(
                f'<details><summary>{title}</summary><div class="scroll"><table>{rows}</table></div></details>'
            )
    return f'<section id="provenance"><h2>Where this comes from</h2>{"".join(parts)}</section>' if parts else ""


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and key == "config":
            yield f"{prefix}{key}", ", ".join(f"{name} {setting}" for name, setting in value.items())
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{key}", "" if value is None else str(value)


def _number(value: float, unit: str = "") -> str:
    return "—" if math.isnan(value) else f"{value:.{0 if value >= 100 else 1}f}{unit}"
