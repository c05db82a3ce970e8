"""The page of units: what stands on it. All text is escaped here."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechssl.metrics.units import UnitCounts
from speechssl.report import svg, utterance
from speechssl.report.colours import unit_colours
from speechssl.report.distributions import LONGEST_RUN, durations
from speechssl.report.document import asset, document, duration, plural
from speechssl.report.parts import Failure, failures_section, number, provenance, tiles
from speechssl.report.utterance import Recording
from speechssl.units.units import Units

MAX_PAGE_BYTES = 15_000_000
MAX_UTTERANCE_S = 30.0


@dataclass(frozen=True)
class Page:
    """All that a page says. `recordings` are drawn as far as the page's size allows; `statistics` cover the corpus."""

    title: str
    subtitle: str
    statistics: "Statistics"
    recordings: Sequence[Recording]
    failures: Sequence[Failure] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)  # code: how many inputs; `failures` may be the first only
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
        self.run_lengths = np.zeros(LONGEST_RUN + 1, np.int64)  # [k]: runs of k frames; 0 stays empty

    def add(self, units: Units) -> None:
        """Count one utterance."""
        self.counts.add(units.frames())
        self.run_lengths += np.bincount(units.dedup().durations.clip(0, LONGEST_RUN), minlength=LONGEST_RUN + 1)


def render(page: Page) -> str:
    """The HTML document."""
    colours = unit_colours(page.statistics.counts.frames.size, page.codebook)
    sections, rules = drawn(page.recordings, colours, max_s=MAX_UTTERANCE_S, max_bytes=MAX_PAGE_BYTES)
    missing = page.statistics.counts.utterances - len(sections)
    counted = f"{missing} more utterance{' is' if missing == 1 else 's are'} counted but not drawn."
    more = f'<p class="note">{counted}</p>' if missing > 0 else ""
    failed = len(page.failures)
    skipped = f'<p class="warning"><a href="#failures">{plural(failed, "input")} skipped</a></p>' if failed else ""
    body = f"""<a class="skip" href="#utterances">Skip to the utterances</a>
<header class="top"><h1>{html.escape(page.title)}</h1><p class="lead">{html.escape(page.subtitle)}</p>
{f'<p class="warning" role="note">{html.escape(page.banner)}</p>' if page.banner else ""}{skipped}
{_tiles(page)}</header><main>
<section id="utterances"><h2>Utterances</h2>{help_text(page) if sections else "<p>No utterance gave units.</p>"}
{"".join(sections)}{more}</section>
{_charts(page.statistics, colours)}
{failures_section(page.failures)}
{provenance(page.source, page.card, page.sidecar)}
</main>"""
    return document(page.title, body, style="\n".join(rules), script=asset("page.js"))


_HELP = (
    '<p class="help">Click a picture, or focus it and use the arrow keys, to move from unit to unit; '
    "<kbd>Space</kbd> plays, <kbd>Enter</kbd> highlights the unit everywhere on the page, <kbd>Esc</kbd> ends "
    "that.{}</p>"
)
_COLOURS = " Similar units have similar colours."


def drawn(
    recordings: Sequence[Recording], colours: Sequence[str], *, max_s: float, max_bytes: int
) -> tuple[list[str], list[str]]:
    """The HTML of as many recordings as `max_bytes` allow, at least one, and the style rules that go with it."""
    sections: list[str] = []
    rules: list[str] = []
    used = 0
    for place, recording in enumerate(recordings):
        section = utterance.section(recording, place, colours, max_s)
        if used + len(section) > max_bytes and sections:
            break
        used += len(section)
        sections.append(section)
        rules.append(utterance.width_rule(recording, place, max_s))
    return sections, rules


def help_text(page: Page) -> str:
    """How the drawings are used."""
    return _HELP.format("" if page.codebook is None else _COLOURS)


def _tiles(page: Page) -> str:
    scores = page.statistics.counts.scores()
    figures = [
        ("audio", duration(scores.seconds), plural(scores.utterances, "utterance")),
        ("bitrate", number(scores.bitrate, " bit/s"), f"{number(scores.entropy_bitrate)} bit/s by entropy"),
        ("units", number(scores.unit_rate, " /s"), "after merging repeats"),
        ("in use", f"{scores.active_codes} of {scores.num_units}", f"perplexity {number(scores.perplexity)}"),
    ]
    if page.real_time_factor:
        about = f"real-time factor {page.real_time_factor:.4f}, start included"
        figures.append(("speed", f"{1 / page.real_time_factor:.0f}×", about))
    return tiles(figures)


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
    step_ms = 1000 / statistics.counts.unit_rate
    runs = statistics.run_lengths[1:]
    shares = 100 * runs / runs.sum()
    lengths = durations(statistics.run_lengths, step_ms, label="Share of units per duration", top=float(shares.max()))
    mean_ms = float(total / runs.sum()) * step_ms
    top = ", ".join(f"{u} ({100 * frames[u] / total:.1f} %)" for u in order[:5])
    return f"""<section id="charts"><h2>The units</h2><div class="charts">
<figure><figcaption>How often each unit occurs, by rank</figcaption>{usage}
<p class="facts">Most frequent: {top}. {int((frames == 0).sum())} units do not occur here.</p></figure>
<figure><figcaption>How long a unit lasts</figcaption>{lengths}
<p class="facts">{shares[0]:.0f} % last one frame; the mean is {mean_ms:.0f} ms.</p></figure></div></section>"""
