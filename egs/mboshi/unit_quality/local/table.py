#!/usr/bin/env python3
"""A Markdown table of what stage 3 wrote: table.py EXP "MODEL ..." "CHANGE ..." """

import json
import sys
from pathlib import Path

COLUMNS = {  # file, name in it -> heading, factor, decimals
    ("units", "pnmi"): ("PNMI", 1, 3),
    ("units", "phone_purity"): ("phone purity", 1, 3),
    ("units", "bitrate"): ("bit/s", 1, 0),
    ("boundaries", "f1"): ("boundary F1", 1, 3),
    ("boundaries", "r_value"): ("R-value", 1, 3),
    ("abx", "within"): ("ABX within %", 100, 1),
    ("abx", "across"): ("across %", 100, 1),
}


def main(exp: Path, models: list[str], changes: list[str]) -> int:
    """Print it."""
    columns = COLUMNS | {(f"ued_{change}", "ued"): (f"UED {change}", 1, 3) for change in changes}
    print(f"| | {' | '.join(heading for heading, _, _ in columns.values())} |")
    print(f"|---|{'---:|' * len(columns)}")
    for model in models:
        cells = []
        for (file, name), (_, factor, decimals) in columns.items():
            value = json.loads((exp / model / f"{file}.json").read_text(encoding="utf-8"))[name]
            cells.append("-" if value is None else f"{factor * value:.{decimals}f}")
        print(f"| {model} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2].split(), sys.argv[3].split()))
