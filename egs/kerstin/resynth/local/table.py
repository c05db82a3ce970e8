#!/usr/bin/env python3
"""A Markdown table of scores of `speechssl score speech`: table.py SCORES "ROW ..." """

import json
import sys
from pathlib import Path

COLUMNS = {  # name in the file -> heading, factor, decimals
    "bitrate": ("bit/s", 1, 0),
    "mcd_db": ("MCD dB", 1, 2),
    "f0_rmse_cents": ("F0 RMSE cents", 1, 0),
    "f0_correlation": ("F0 correlation", 1, 2),
    "f0_voicing_error": ("voicing errors %", 100, 1),
    "duration_error": ("duration error %", 100, 1),
    "similarity": ("speaker similarity", 1, 3),
    "dnsmos_made": ("DNSMOS", 1, 2),
    "cer_made": ("CER %", 100, 1),
}


def main(scores: Path, rows: list[str]) -> int:
    """Print it, without columns that no row has."""
    found = {row: json.loads((scores / f"{row}.json").read_text(encoding="utf-8")) for row in rows}
    columns = {key: column for key, column in COLUMNS.items() if any(key in values for values in found.values())}
    print(f"| | {' | '.join(heading for heading, _, _ in columns.values())} |")
    print(f"|---|{'---:|' * len(columns)}")
    for row, values in found.items():
        cells = ["-" if values.get(key) is None else f"{factor * values[key]:.{decimals}f}"
                 for key, (_, factor, decimals) in columns.items()]  # fmt: skip
        print(f"| {row} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2].split()))
