"""The page of trainings: the curves of log.jsonl, several runs over one another, what was said, what differs.

A run is a folder that `recipes.pretrain` (or any recipe) wrote: log.jsonl, and config.toml and result.json where they
are. A run that still goes on, or that was killed, can be shown as well: a torn last line is left out and counted.
"""

import html
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from speechssl import config
from speechssl.errors import DataError
from speechssl.report.curves import Curve, chart, legend, swatch
from speechssl.report.document import document, duration, plural

_FIRST = ("loss", "accuracy")  # charts in this order, then the objective's own by name, then those of the machinery
_LAST = ("lr", "gradient_norm", "speed", "padded", "waited")
_ABOUT = {
    "loss": "loss, per counted item",
    "lr": "learning rate",
    "gradient_norm": "norm of the gradient, before clipping",
    "speed": "speed, times real time",
    "padded": "share of the batch that is padding",
    "waited": "share of time spent waiting for data",
    "effective_rank": "effective rank of the frames (1: all on a line)",
    "code_perplexity": "perplexity of the codes (1: a single code)",
}
_MOST_EVENTS = 200


@dataclass
class Run:
    """What a run's folder says. rows[kind]: "train" or "valid" lines in the order of updates."""

    name: str
    rows: dict[str, list[dict[str, float]]] = field(default_factory=lambda: {"train": [], "valid": []})
    events: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)  # config.toml, flat: "data.batching.seconds" -> value
    finished: bool = False
    unreadable: int = 0  # lines

    def last(self, kind: str, name: str) -> float | None:
        """The newest finite value."""
        found = [row[name] for row in self.rows[kind] if math.isfinite(row.get(name, math.nan))]
        return found[-1] if found else None

    def best(self, name: str) -> float | None:
        """The lowest value on the validation set."""
        found = [row[name] for row in self.rows["valid"] if math.isfinite(row.get(name, math.nan))]
        return min(found) if found else None

    @property
    def updates(self) -> int:
        """Of the newest line."""
        return int(max((row["update"] for rows in self.rows.values() for row in rows), default=0))

    @property
    def wall_s(self) -> float:
        """Seconds between lines, without the pauses between a kill and going on."""
        times = [row["time"] for row in self.rows["train"]]
        gaps = np.diff(times)
        resumed = [event["time"] for event in self.events if event.get("text", "").startswith("going on from")]
        paused = [any(a < t <= b for t in resumed) for a, b in pairwise(times)]
        return float(gaps[~np.array(paused, dtype=bool)].sum()) if len(gaps) else 0.0


def is_run(folder: Path) -> bool:
    """Whether a recipe has trained there."""
    return (folder / "log.jsonl").is_file()


def read_run(folder: Path) -> Run:
    """A run's folder. Raises DataError where it is none or has no figures yet, ConfigError for a bad config."""
    if not is_run(folder):
        raise DataError(f"{folder}: no log.jsonl there, so it is not the folder of a training run")
    run = Run(folder.name or str(folder))
    for line in (folder / "log.jsonl").read_text(encoding="utf-8", errors="replace").split("\n"):
        if line.strip():
            _take(run, line)
    if not any(run.rows.values()):
        raise DataError(f"{folder}/log.jsonl: no figures there yet")
    for rows in run.rows.values():
        rows.sort(key=lambda row: row["update"])
    if (folder / "config.toml").is_file():
        run.settings = dict(flat(config.read_toml(folder / "config.toml")))
    run.finished = (folder / "result.json").is_file()
    return run


def _take(run: Run, line: str) -> None:
    try:
        row = json.loads(line)
        kind = row["kind"]
        if kind in run.rows:
            figures = {name: float(value) for name, value in row.items() if name != "kind"}
            if not math.isfinite(figures["update"]) or not math.isfinite(figures["time"]):
                raise ValueError(line)
            run.rows[kind].append(figures)
        elif kind == "event":
            run.events.append({"text": str(row.get("text", "")), "time": float(row.get("time", 0.0))})
    except (ValueError, TypeError, KeyError, AttributeError):
        run.unreadable += 1


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Tables within tables as "outer.inner"."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found


def name_apart(folders: Sequence[Path]) -> list[str]:
    """Names of runs: the last parts of their paths, as many as tell them apart."""
    parts = [folder.absolute().parts for folder in folders]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    raise DataError("the same folder stands there twice")


def render(runs: Sequence[Run], title: str) -> str:
    """The page of one or more runs."""
    names = {name for run in runs for rows in run.rows.values() for row in rows for name in row} - {"update", "time"}
    middle = sorted(names - {*_FIRST, *_LAST})
    ordered = [name for name in (*_FIRST, *middle, *_LAST) if name in names]
    charts = "".join(_chart(name, runs) for name in ordered)
    collapsed = [f"{run.name}: {event['text']}" for run in runs for event in run.events if "collapse?" in event["text"]]
    warning = f'<p class="warning" role="note">{html.escape(collapsed[-1])}</p>' if collapsed else ""
    body = f"""<header class="top"><h1>{html.escape(title)}</h1>
<p class="lead">{plural(len(runs), "training run")}. Lines: training, means between two lines of the log; dots: the
validation set.</p>{warning}</header><main>
<section id="runs"><h2>Runs</h2>{_table(runs)}</section>
<section id="curves"><h2>Curves</h2>{legend([run.name for run in runs])}<div class="charts">{charts}</div></section>
{_differences(runs)}{_events(runs)}{_settings(runs)}</main>"""
    return document(title, body)


def _table(runs: Sequence[Run]) -> str:
    rows = []
    for number, run in enumerate(runs):
        updates, planned = run.updates, run.settings.get("training.updates")
        state = "finished" if run.finished else "not finished"
        skipped = sum("skipped:" in event["text"] for event in run.events)
        cells = [
            str(run.settings.get("objective", "")),
            f"{updates} of {planned}" if planned else str(updates),
            state + (f", {plural(run.unreadable, 'torn line')}" if run.unreadable else ""),
            duration(run.wall_s),
            *(_figure(run.last(kind, "loss")) for kind in ("train", "valid")),
            _figure(run.best("loss")),
            _figure(_mean(run, "speed"), "×"),
            str(skipped),
        ]
        rows.append(f'<tr><th scope="row">{swatch(number)}{html.escape(run.name)}</th>'
                    f"{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")  # fmt: skip
    heads = ("run", "objective", "updates", "state", "time", "loss", "loss, validation", "its best", "real time",
             "skipped updates")  # fmt: skip
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"""<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>"""


def _chart(name: str, runs: Sequence[Run]) -> str:
    curves = []
    for number, run in enumerate(runs):
        for kind, dots in (("train", False), ("valid", True)):
            rows = [row for row in run.rows[kind] if name in row]
            if rows:
                x, y = (np.array([row[key] for row in rows], dtype=np.float64) for key in ("update", name))
                curves.append(Curve(f"{run.name}, {kind}", x, y, number, dots))
    about = _ABOUT.get(name, name.replace("_", " "))
    drawn = chart(curves, label=f"{about}, over updates", x_name="updates")
    drawn = drawn or '<p class="facts">No finite value.</p>'
    return f'<figure data-name="{html.escape(name)}"><figcaption>{html.escape(about)}</figcaption>{drawn}</figure>'


def _differences(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return ""
    names = sorted({name for run in runs for name in run.settings} - {"run"})
    rows = []
    for name in names:
        values = [run.settings.get(name, "—") for run in runs]
        if any(value != values[0] for value in values):
            cells = "".join(f"<td>{html.escape(str(value))}</td>" for value in values)
            rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{html.escape(run.name)}</th>' for run in runs)
    table = (f'<div class="scroll"><table><thead><tr><th scope="col">setting</th>{heads}</tr></thead>'
             f"<tbody>{''.join(rows)}</tbody></table></div>")  # fmt: skip
    return f'<section id="differences"><h2>What differs</h2>{table if rows else "<p>No setting.</p>"}</section>'


def _events(runs: Sequence[Run]) -> str:
    found = [(event["time"], run.name, event["text"]) for run in runs for event in run.events]
    if not found:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))}</th><td>{html.escape(name)}</td>'
        f"<td>{html.escape(text)}</td></tr>"
        for at, name, text in sorted(found)[-_MOST_EVENTS:]
    )
    more = f'<p class="note">The last {_MOST_EVENTS} of {len(found)}.</p>' if len(found) > _MOST_EVENTS else ""
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("time (UTC)", "run", "event"))
    return f"""<section id="events"><h2>What was said</h2>{more}<div class="scroll"><table>
<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"""


def _settings(runs: Sequence[Run]) -> str:
    parts = []
    for run in runs:
        rows = "".join(f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>'
                       for name, value in run.settings.items())  # fmt: skip
        if rows:
            parts.append(f'<details><summary>{html.escape(run.name)}</summary><div class="scroll"><table>{rows}</table>'
                         "</div></details>")  # fmt: skip
    return f'<section id="provenance"><h2>Settings</h2>{"".join(parts)}</section>' if parts else ""


def _mean(run: Run, name: str) -> float | None:
    values = [row[name] for row in run.rows["train"] if math.isfinite(row.get(name, math.nan))]
    return sum(values) / len(values) if values else None


def _figure(value: float | None, unit: str = "") -> str:
    return "—" if value is None else f"{value:.4g}{unit}"
