"""How a score is told: as lines for people or one JSON object, and into a file where asked."""

import argparse
from collections.abc import Sequence
from typing import Any


def deliver(row: dict[str, Any], args: argparse.Namespace, lines: Sequence[str]) -> None:
    """Print `row` as args.json says, and write it to args.output where there is one."""
    import json
    from pathlib import Path

    text = json.dumps(row, indent=2, ensure_ascii=False)
    if args.output:
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        Path(args.output).write_text(text + "\n", encoding="utf-8")
    print(text if args.json else "\n".join(lines))


def defined(row: dict[str, Any]) -> dict[str, Any]:
    """The same with None for what is undefined, as JSON has no nan."""
    return {key: None if isinstance(value, float) and value != value else value for key, value in row.items()}
