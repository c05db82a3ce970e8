"""What `speechssl info` says of models of ours that need no report of their own: what their card.json holds.

Vocoders, mel decoders, recognisers, unit translators, text-to-unit models, coders of pitch, and what comes later.
"""

from pathlib import Path
from typing import Any

from speechssl import files

_MOST = 16 << 20
_WIDE = 12  # columns of names in other reports
_SHOWN = 8  # items of a list
_OF_THE_CARD = ("name", "sha256", "licence", "sample_rate", "rate_hz")  # first, in this order


def read(folder: Path) -> dict[str, Any]:
    """card.json of a folder, where its format is one of ours; else nothing."""
    try:
        card = files.read_json(folder / "card.json", most=_MOST)
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) and str(card.get("format")).startswith("speechssl-") else {}


def describe(folder: Path, card: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Values for programs and lines for people of a card whose format is speechssl-KIND-1."""
    kind = card["format"].removeprefix("speechssl-").rpartition("-")[0].replace("-", " ")
    facts = {key: value for key, value in card.items() if key != "format"}
    ordered = {key: facts.pop(key) for key in _OF_THE_CARD if key in facts} | facts
    rows = [("kind", kind), *_rows(ordered)]
    width = max(_WIDE, *(len(name) + 2 for name, _ in rows))
    return {"kind": kind, "folder": str(folder), **card}, [f"{name:<{width}}{text}" for name, text in rows]


def _rows(values: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Every value that says something, under its dotted name."""
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{before}{key}.")
        elif isinstance(value, list):
            shown = ", ".join(map(str, value[:_SHOWN])) + (f", ... ({len(value)})" if len(value) > _SHOWN else "")
            rows += [(before + key, shown)] if value else []
        elif value not in (None, ""):
            rows.append((before + key, f"{value:g}" if isinstance(value, float) else str(value)))
    return rows
