#!/usr/bin/env python3
"""wer_table.py HEADING=FOLDER...: a Markdown table of what speechssl score wer found, a row for each name of a file.

Rates in percent, with their bootstrap intervals; where a file has another system beside it, the difference of CER to
that one, on the same draws.
"""

import json
import sys
from pathlib import Path


def main(columns: list[str]) -> int:
    found: dict[str, dict[str, dict]] = {}
    for column in columns:
        heading, _, folder = column.partition("=")
        found[heading] = {
            path.stem: json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*.json")
        }
    names = sorted({name for rows in found.values() for name in rows})
    if not names:
        print(f"{' '.join(columns)}: no scores", file=sys.stderr)
        return 2
    heads = [f"{heading}: {kind}" for heading in found for kind in ("CER %", "WER %", "CER, difference")]
    print("| system | " + " | ".join(heads) + " |\n|---|" + "---:|" * len(heads))
    for name in names:
        print(f"| {name} | {' | '.join(cell for rows in found.values() for cell in cells(rows.get(name)))} |")
    return 0


def cells(row: dict | None) -> list[str]:
    """CER, WER, difference."""
    if row is None:
        return ["", "", ""]
    difference = row.get("difference", {}).get("cer")
    last = "" if difference is None else interval(difference, "difference", "+.1f")
    return [interval(row["cer"], "rate", ".1f"), interval(row["wer"], "rate", ".1f"), last]


def interval(found: dict, key: str, form: str) -> str:
    """`rate [low, high]` in percent."""
    rate, low, high = (format(100 * found[name], form) for name in (key, "low", "high"))
    return f"{rate} [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if len(sys.argv) > 1 else __doc__)
