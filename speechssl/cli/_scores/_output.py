"""How a score is told: as lines for people or one JSON object, and into a file where asked."""

import argparse
from collections.abc import Sequence
from typing import Any


def deliver(row: dict[str, Any], args: argparse.Namespace, lines: Sequence[str]) -> None:
    """Print `row` as args.json says, and write it to args.output where there is one."""
    if args.output:
        write_json(args.output, row)
    print(_text(row) if args.json else "\n".join(lines))


def write_json(path: str, row: dict[str, Any]) -> None:
    """To a file, its folder made where there is none."""
    from pathlib import Path

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(_text(row) + "\n", encoding="utf-8")


def _text(row: dict[str, Any]) -> str:
    import json

    return json.dumps(row, indent=2, ensure_ascii=False)


def defined(row: dict[str, Any]) -> dict[str, Any]:
    """The same with None for what is undefined, as JSON has no nan."""
    return {key: None if isinstance(value, float) and value != value else value for key, value in row.items()}
