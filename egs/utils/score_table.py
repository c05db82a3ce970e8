#!/usr/bin/env python3
"""A Markdown table from `speechssl score units --json` files: one row per codebook size, mean and range over seeds.

    score_table.py k100_s0.json k100_s1.json k500_s0.json ...

The files are grouped by the name before `_s`; a row reads `mean [lowest, highest]`.
"""

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

COLUMNS = {  # name in the JSON -> heading, decimals
    "pnmi": ("PNMI", 4),
    "phone_purity": ("phone purity", 4),
    "cluster_purity": ("cluster purity", 4),
    "perplexity": ("perplexity", 1),
    "active_codes": ("active", 0),
    "bitrate": ("bitrate (bit/s)", 1),
    "entropy_bitrate": ("entropy bitrate", 1),
}


def main(paths: list[str]) -> int:
    """Print the table; 2 without files."""
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    print("\n".join(table([Path(path) for path in paths])))
    return 0


def table(paths: list[Path]) -> list[str]:
    """The lines of the table, rows in the order in which the groups first appear."""
    groups: dict[str, list[dict]] = defaultdict(list)
    for path in paths:
        groups[path.stem.rpartition("_s")[0] or path.stem].append(json.loads(path.read_text(encoding="utf-8")))
    columns = [name for name in COLUMNS if any(row.get(name) is not None for rows in groups.values() for row in rows)]
    heading = ["units", *(COLUMNS[name][0] for name in columns), "seeds"]
    lines = [f"| {' | '.join(heading)} |", f"|---|{'---:|' * (len(heading) - 1)}"]
    for rows in groups.values():
        sizes = {row["num_units"] for row in rows}
        if len(sizes) != 1:
            raise SystemExit(f"scores of codebooks of different sizes {sorted(sizes)} share one name")
        cells = [cell([row[name] for row in rows], COLUMNS[name][1]) for name in columns]
        lines.append(f"| {' | '.join([str(sizes.pop()), *cells, str(len(rows))])} |")
    return lines


def cell(values: list[float | None], decimals: int) -> str:
    """`mean [lowest, highest]`, the mean alone where all agree, `-` where a value is undefined."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "-"
    low, mean, high = (f"{f(numbers):.{decimals}f}" for f in (min, statistics.fmean, max))
    return mean if low == high else f"{mean} [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
