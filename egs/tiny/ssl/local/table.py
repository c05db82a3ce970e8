#!/usr/bin/env python3
"""A Markdown table of what stage 6 wrote: table.py SCORES MODEL..."""

import json
import sys
from pathlib import Path

SHIFTS = ("0", "-0.07")


def main(scores: Path, models: list[str]) -> int:
    """Print it."""
    print(f"| |{' PNMI | phone purity |' * len(SHIFTS)} bit/s | ABX within % | across % |")
    print(f"|---|{'---:|' * (2 * len(SHIFTS) + 3)}")
    for model in models:
        found = [read(scores / f"{model}_shift{shift}.json") for shift in SHIFTS]
        abx = read(scores / f"{model}_abx.json")
        cells = [f"{row[name]:.3f}" for row in found for name in ("pnmi", "phone_purity")]
        cells += [f"{found[0]['bitrate']:.0f}", *(f"{100 * abx[name]:.1f}" for name in ("within", "across"))]
        print(f"| {model} | {' | '.join(cells)} |")
    return 0


def read(path: Path) -> dict:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
