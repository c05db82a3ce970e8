#!/usr/bin/env python3
"""table.py SCORES: a Markdown table of SCORES/SYSTEM_SUBSET_SEED.json, mean over seeds, 95 % interval (Student).

One seed has no interval.
"""

import json
import statistics
import sys
from pathlib import Path

QUANTILES = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]  # of t at 0.975, from 1 degree of freedom
SUBSETS = ("10m", "1h", "all")


def cell(values: list[float]) -> str:
    shown = f"{100 * statistics.mean(values):.1f}"
    if 1 < len(values) <= len(QUANTILES) + 1:
        half = QUANTILES[len(values) - 2] * statistics.stdev(values) / len(values) ** 0.5
        shown += f" ± {100 * half:.1f}"
    return f"{shown} ({len(values)})"


def main(folder: str) -> int:
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for path in sorted(Path(folder).glob("*.json")):
        system, subset, _ = path.stem.rsplit("_", 2)
        found.setdefault((system, subset), []).append(json.loads(path.read_text(encoding="utf-8")))
    if not found:
        print(f"{folder}: no scores", file=sys.stderr)
        return 2
    subsets = [subset for subset in SUBSETS if any(subset == other for _, other in found)]
    heads = [f"{kind} % {subset}" for kind in ("CER", "WER") for subset in subsets]
    print("| system | " + " | ".join(heads) + " |\n|---|" + "---:|" * len(heads))
    for system in sorted({system for system, _ in found}):
        cells = [
            cell([row[kind] for row in found[system, subset]]) if (system, subset) in found else ""
            for kind in ("cer", "wer")
            for subset in subsets
        ]
        print(f"| {system} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 2 else __doc__)
