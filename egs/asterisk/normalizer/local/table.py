#!/usr/bin/env python3
"""table.py SCORES REFERENCE OTHER "SYSTEM ...": unit error rates of test prompts as a Markdown table.

Of SCORES/SYSTEM.{between,other,reference}.json and SCORES/chance.json, of `speechssl score edits`, with 95 % intervals.
"""

import json
import sys
from pathlib import Path


def main(scores: str, reference: str, other: str, systems: str) -> int:
    """Print it."""
    print(f"| unit error rate, % | {other} against {reference}, both so | {other} so, {reference} raw | "
          f"{reference} so, {reference} raw | prompts |\n|---|---:|---:|---:|---:|")  # fmt: skip
    for system in systems.split():
        rows = [read(Path(scores) / f"{system}.{kind}.json") for kind in ("between", "other", "reference")]
        print(f"| {system} | {' | '.join(map(shown, rows))} | {rows[0]['utterances']} |")
    chance = read(Path(scores) / "chance.json")
    print(f"| {reference}'s other prompts | - | - | {shown(chance)} | {chance['utterances']} |")
    return 0


def read(path: Path) -> dict[str, float]:
    """A score, or nothing where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def shown(row: dict[str, float]) -> str:
    """Rate and interval in percent."""
    return f"{100 * row['unit_error_rate']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]" if row else "-"


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
