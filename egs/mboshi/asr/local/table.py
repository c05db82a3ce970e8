#!/usr/bin/env python3
"""table.py SCORES: a Markdown table of SCORES/SYSTEM_SUBSET_SEED.json, mean over seeds, 95 % interval (Student).

One seed has no interval. SYSTEM+lm and SYSTEM+ownlm are SYSTEM decoded otherwise, and stand beside it.
"""

import json
import statistics
import sys
from pathlib import Path

QUANTILES = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]  # of t at 0.975, from 1 degree of freedom
SUBSETS = ("10m", "1h", "all")
DECODINGS = {"": "greedy", "+lm": "n-gram", "+ownlm": "n-gram of the labels"}


def cell(values: list[float]) -> str:
    shown = f"{100 * statistics.mean(values):.1f}"
    if 1 < len(values) <= len(QUANTILES) + 1:
        half = QUANTILES[len(values) - 2] * statistics.stdev(values) / len(values) ** 0.5
        shown += f" ± {100 * half:.1f}"
    return f"{shown} ({len(values)})"


def order(row: tuple[str, str]) -> tuple[int, str, str]:
    return (SUBSETS.index(row[0]) if row[0] in SUBSETS else len(SUBSETS), *row)


def main(folder: str) -> int:
    found: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for path in sorted(Path(folder).glob("*.json")):
        system, subset, _ = path.stem.rsplit("_", 2)
        decoding = next(name for name in reversed(DECODINGS) if system.endswith(name))
        key = (system.removesuffix(decoding), subset, decoding)
        found.setdefault(key, []).append(json.loads(path.read_text(encoding="utf-8")))
    if not found:
        print(f"{folder}: no scores", file=sys.stderr)
        return 2
    decodings = [name for name in DECODINGS if any(name == other for _, _, other in found)]
    heads = [f"{kind} % {DECODINGS[name]}" for name in decodings for kind in ("CER", "WER")]
    print("| system | labels | " + " | ".join(heads) + " |\n|---|---|" + "---:|" * len(heads))
    for subset, system in sorted({(subset, system) for system, subset, _ in found}, key=order):
        cells = [
            cell([row[kind] for row in found[system, subset, name]]) if (system, subset, name) in found else ""
            for name in decodings
            for kind in ("cer", "wer")
        ]
        print(f"| {system} | {subset} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 2 else __doc__)
