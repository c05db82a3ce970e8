"""The page of a unit model on a corpus: key figures, examples, phones against units, distributions, layers, changes."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from speechssl.report.colours import unit_colours
from speechssl.report.curves import legend
from speechssl.report.distributions import LONGEST_RUN, durations, median_frames, ranks, shares, units_table
from speechssl.report.document import asset, document, duration, plural
from speechssl.report.heatmap import MOST_UNITS, heat_map
from speechssl.report.page import Page, drawn, help_text
from speechssl.report.parts import failures_section, number, provenance, share, tiles
from speechssl.report.quality import Quality
from speechssl.report.robustness import edit_charts, layer_charts
from speechssl.report.score_files import Scores
from speechssl.units.card import StoredCard

MAX_EXAMPLES_BYTES = 4_000_000
MAX_EXAMPLE_S = 15.0
_CHANCE = 0.5  # of ABX


@dataclass(frozen=True)
class ModelPage:
    """All that the page says. `page` has what every page of units has; `quality` is None without labels."""

    page: Page
    card: StoredCard
    num_layers: int | None  # of the encoder, where it could be loaded
    speakers: int  # 0: not known
    quality: Quality | None = None
    scores: Scores = field(default_factory=Scores)
    changes: str = ""  # what was changed and measured for this page, in words


def render(made: ModelPage) -> str:
    """The HTML document."""
    page, card = made.page, made.card
    colours = unit_colours(card.num_units, page.codebook)
    sections, rules = drawn(page.recordings, colours, max_s=MAX_EXAMPLE_S, max_bytes=MAX_EXAMPLES_BYTES)
    left_out = len(page.recordings) - len(sections)
    note = f'<p class="note">{plural(left_out, "more example")} left out: the page would be too large.</p>'
    heat, heat_rule = _heat(made.quality, colours)
    body = f"""<a class="skip" href="#utterances">Skip to the examples</a>
<header class="top"><h1>{html.escape(page.title)}</h1>{_model(made)}{_warning(made)}
{tiles(_figures(made), wide=True)}{_corpus(made)}</header><main>
<section id="utterances"><h2>Examples</h2>{help_text(page) if sections else "<p>No utterance gave units.</p>"}
{"".join(sections)}{note if left_out else ""}</section>
{heat}{_distributions(made)}{_layers(made)}{_changes(made)}
{failures_section(page.failures)}
{provenance(page.source, page.card, page.sidecar)}
</main>"""
    return document(page.title, body, style="\n".join([*rules, heat_rule]), script=asset("page.js"))


def _model(made: ModelPage) -> str:
    card = made.card
    of = f" of {made.num_layers}" if made.num_layers is not None else ""
    family, name = card.encoder.family, card.encoder.id
    encoder = family if name == family else f"{family} ({name})"
    bitrate = number(made.page.statistics.counts.scores().bitrate, " bit/s")
    facts = [
        ("encoder", encoder), ("layer", f"{card.layer}{of}"), ("units", f"{card.num_units} ({card.quantizer.kind})"),
        ("rate", f"{card.rate_hz:g} per second"), ("bitrate", bitrate),
    ]  # fmt: skip
    return f'<p class="lead">{" · ".join(f"{name} <b>{html.escape(value)}</b>" for name, value in facts)}</p>'


def _warning(made: ModelPage) -> str:
    failures = made.page.reasons
    if not failures:
        return ""
    reasons = ", ".join(f"{code} {count}" for code, count in failures.items())
    return (f'<p class="warning"><a href="#failures">{plural(sum(failures.values()), "input")} skipped</a>: '
            f"{html.escape(reasons)}</p>")  # fmt: skip


def _figures(made: ModelPage) -> list[tuple[str, str, str]]:
    """Tiles: with labels those that need them first."""
    figures = []
    if made.quality is not None:
        found, edges = made.quality.counts.scores(), made.quality.boundaries.scores()
        figures += [
            ("PNMI", share(found.pnmi), "share of the information on phones that units carry; 1 is all"),
            ("phone purity", share(found.phone_purity), "of the time falls on the main phone of its unit"),
            ("cluster purity", share(found.cluster_purity), "of the time falls on the main unit of its phone"),
            ("boundary F1", share(edges.f1), "of unit changes taken for phone boundaries, at most "
             f"{1000 * edges.tolerance_s:g} ms apart"),
            ("R-value", share(edges.r_value), "as F1, but too many cost; 1 is perfect, below 0 far too many"),
        ]  # fmt: skip
    for abx in made.scores.abx:
        kind = "units" if abx.distance == "identical" else f"frames, {abx.distance}"
        for name, error in (("within", abx.within), ("across", abx.across)):
            value = "—" if error != error else f"{100 * error:.1f} %"
            chance = f"{100 * _CHANCE:g} % is chance"
            figures.append((f"ABX {name} speakers", value, f"errors in telling two phones apart ({kind}); {chance}"))
    every = made.page.statistics.counts.scores()
    figures += [
        ("active codes", f"{every.active_codes} of {every.num_units}", "units that occur in this corpus"),
        ("perplexity", number(every.perplexity), f"units in effective use; {every.num_units} if all were used alike"),
        ("bitrate", number(every.bitrate, " bit/s"), f"log2({every.num_units}) × {number(every.unit_rate)} units/s, "
         f"repeats merged; {number(every.entropy_bitrate)} by entropy"),
    ]  # fmt: skip
    return figures


def _corpus(made: ModelPage) -> str:
    every = made.page.statistics.counts.scores()
    parts = [f"{plural(every.utterances, 'utterance')}, {duration(every.seconds)} of units"]
    if made.speakers:
        parts[0] += f", {plural(made.speakers, 'speaker')}"
    if not made.page.reasons:
        parts[0] += ", none skipped"
    if made.quality is not None:
        scored, quality = made.quality.counts.scores(), made.quality
        shift = f", moved by {1000 * quality.shift_s:+g} ms" if quality.shift_s else ""
        parts.append(f"PNMI, purities and boundaries over the {scored.utterances} with labels "
                     f"({duration(scored.labelled_seconds)} labelled, {scored.num_phones} phones{shift})")  # fmt: skip
        if quality.without:
            examples = ", ".join(quality.examples_without)
            parts.append(f"{plural(quality.without, 'utterance')} without labels, for example {examples}")
        if quality.without_units:
            parts.append(f"{plural(quality.without_units, 'alignment')} without units")
    return f'<p class="facts" id="corpus">{html.escape(made.page.subtitle)}: {html.escape("; ".join(parts))}.</p>'


def _heat(quality: Quality | None, colours: Sequence[str]) -> tuple[str, str]:
    if quality is None:
        return "", ""
    counts = quality.counts
    picture, rule = heat_map(counts.joint, quality.labels, colours)
    seen = int((counts.joint.sum(0) > 0).sum())
    more = f" Drawn are the {MOST_UNITS} most frequent of {seen} units." if seen > MOST_UNITS else ""
    return (
        f"""<section id="phones"><h2>Which unit says which phone</h2>
<p class="help">P(phone | unit): a column is a unit and shows which phones it is heard with; light is often. Units stand
by their most frequent phone, named below. Point at a cell, or focus the picture and use the arrow keys, to read its
numbers; a click highlights the unit everywhere.{more}</p><figure>{picture}</figure></section>""",
        rule,
    )


def _distributions(made: ModelPage) -> str:
    counts, runs = made.page.statistics.counts, made.page.statistics.run_lengths
    if not counts.frames.any():
        return ""
    quality = made.quality
    step_ms = 1000 / counts.unit_rate
    named = [("units", counts.frames)]
    lengths = [("Units", runs)]
    if quality is not None:
        named.append(("phones", quality.counts.joint.sum(1)))
        lengths.append(("Phones", quality.phone_lengths))
    top = max(float(shares(values[1:]).max()) for _, values in lengths)
    bars = "".join(
        f'<p class="facts">{name}: {shares(values[1:])[0]:.0f} % last one frame, median {_median(values, step_ms)}</p>'
        f"{durations(values, step_ms, label=f'Share of {name.lower()} per duration', top=top)}"
        for name, values in lengths
    )
    beside = " Silence is left out." if quality is not None else ""
    joint = np.zeros((0, len(counts.frames)), np.int64) if quality is None else quality.counts.joint
    table = units_table(counts.frames, counts.runs, joint, () if quality is None else quality.labels, counts.unit_rate)
    unused = int((counts.frames == 0).sum())
    use = (
        f"{unused} of {len(counts.frames)} units do not occur." if unused else f"All {len(counts.frames)} units occur."
    )
    return f"""<section id="charts"><h2>How often, how long</h2><div class="charts">
<figure><figcaption>Share of the time by rank, in %</figcaption>{legend([name for name, _ in named])}
{ranks(named, label="Share of the time of each unit, by rank, both in powers of ten")}
<p class="facts">The flatter, the more evenly they are used. {use}</p></figure>
<figure class="lengths"><figcaption>Share of all by duration in ms, in %</figcaption>{bars}
<p class="facts">Bars are one unit frame, {step_ms:g} ms, wide.{beside}</p></figure></div>
<details><summary>Every unit: how often, how long, which phones</summary>{table}</details></section>"""


def _median(lengths: np.ndarray, step_ms: float) -> str:
    frames = median_frames(lengths)
    return f"{step_ms * frames:g} ms" + (" or more" if frames == LONGEST_RUN else "") if frames else "—"


def _layers(made: ModelPage) -> str:
    if not made.scores.layers:
        return ""
    return f"""<section id="layers"><h2>What each layer knows</h2>
<p class="help">From <code>speechssl score layers</code>: a probe and a codebook are learned for every layer. Dashed:
layer {made.card.layer}, which this model uses.</p>
{layer_charts(made.scores.layers, made.card.layer)}</section>"""


def _changes(made: ModelPage) -> str:
    if not made.scores.edits:
        return ""
    return f"""<section id="changes"><h2>What a change of the recording does to the units</h2>
<p class="help">Unit edit distance: edits between the units of a recording and of the same recording changed, over its
frames; 0 is no change at all. {html.escape(made.changes)}</p>
{edit_charts(made.scores.edits)}</section>"""
