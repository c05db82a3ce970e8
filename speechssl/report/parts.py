"""Parts that pages of units share: figures in tiles, what was skipped, where things come from. All text is escaped."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Failure:
    """An input that gave no units: its id, the reason code, the message."""

    id: str
    code: str
    message: str


def tiles(figures: Iterable[tuple[str, str, str]], *, wide: bool = False) -> str:
    """Figures side by side: (name, value, what it means); wide: with room for a sentence."""
    cells = (
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd><dd>{html.escape(more)}</dd></div>"
        for name, value, more in figures
    )
    return f'<dl class="tiles{" wide" if wide else ""}">{"".join(cells)}</dl>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names its rows."""
    top = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>{"".join(f"<td>{html.escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def failures_section(failures: Sequence[Failure]) -> str:
    """A row for each input that gave no units."""
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


def provenance(source: Sequence[str], card: Mapping[str, Any], sidecar: Mapping[str, Any]) -> str:
    """Paragraphs on where recordings come from; the unit model's card; how the units were made."""
    parts = [f"<p>{html.escape(line)}</p>" for line in source]
    for title, values in (("Unit model", card), ("How these units were made", sidecar)):
        if values:
            rows = "".join(
                f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
                for name, value in _flatten(values)
            )
            parts.append(
                f'<details><summary>{title}</summary><div class="scroll"><table>{rows}</table></div></details>'
            )
    return f'<section id="provenance"><h2>Where this comes from</h2>{"".join(parts)}</section>' if parts else ""


def number(value: float, unit: str = "") -> str:
    """Without decimals from 100 on; a dash for what is undefined."""
    return "—" if math.isnan(value) else f"{value:.{0 if value >= 100 else 1}f}{unit}"


def share(value: float | None) -> str:
    """A number between -1 and 1 with three decimals; a dash for what is undefined."""
    return "—" if value is None or math.isnan(value) else f"{value:.3f}"


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
