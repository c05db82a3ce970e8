#!/usr/bin/env python3
"""kept.py PSEUDO: a Markdown table of PSEUDO/*/report.json: how much of a round's texts was kept, and the errors."""

import json
import sys
from pathlib import Path


def main(folder: str) -> int:
    found = sorted(Path(folder).glob("*/report.json"))
    if not found:
        print(f"{folder}: no reports", file=sys.stderr)
        return 2
    print(
        "| texts of the rest for | kept | hours | CER % kept | dropped | empty, slow, fast, unsure |\n|---|"
        + "---:|" * 5
    )
    for path in found:
        rows = json.loads(path.read_text(encoding="utf-8"))["labels"]
        rates = ["" if rows[name]["cer"] is None else f"{100 * rows[name]['cer']:.1f}" for name in ("kept", "dropped")]
        left_out = ", ".join(str(rows[name]["utterances"]) for name in ("empty", "slow", "fast", "unsure"))
        kept = f"{rows['kept']['utterances']} of {rows['all']['utterances']} | {rows['kept']['hours']:.2f}"
        print(f"| {path.parent.name} | {kept} | {' | '.join(rates)} | {left_out} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
