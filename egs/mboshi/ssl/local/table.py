#!/usr/bin/env python3
"""A Markdown table of what evaluate.sh wrote: table.py scores/mfcc.json scores/untrained.json ..."""

import json
import sys
from pathlib import Path

COLUMNS = {  # name in the JSON -> heading, factor, decimals
    "best_layer": ("layer", 1, 0),
    "probe": ("probe accuracy %", 100, 1),
    "pnmi": ("PNMI", 1, 3),
    "phone_purity": ("phone purity", 1, 3),
    "bitrate": ("bit/s", 1, 0),
    "abx_units_within": ("ABX units within %", 100, 1),
    "abx_units_across": ("across %", 100, 1),
    "abx_frames_within": ("ABX frames within %", 100, 1),
    "abx_frames_across": ("across %", 100, 1),
}


def main(paths: list[str]) -> int:
    """Print it; 2 without files."""
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    print(f"| | {' | '.join(heading for heading, _, _ in COLUMNS.values())} |")
    print(f"|---|{'---:|' * len(COLUMNS)}")
    for path in map(Path, paths):
        row = json.loads(path.read_text(encoding="utf-8"))
        cells = [f"{factor * row[name]:.{decimals}f}" for name, (_, factor, decimals) in COLUMNS.items()]
        print(f"| {path.stem} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
