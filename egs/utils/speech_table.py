#!/usr/bin/env python3
"""A Markdown table of scores of speech: speech_table.py SCORES "ROW ..." ["COLUMN ..."]

Of every row SCORES/ROW.json (of `speechssl score speech`), and what lies beside it as ROW.NAME.json, such as `speechssl
score wer`'s. What several files of a row have is the last one's, and NAME_COLUMN each one's own. COLUMN: without, all.
What people judge by (SURE) has its interval in brackets, where a file has one that is wider than a figure shows.
"""

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = {  # name in the file -> heading, factor, decimals
    "bitrate": ("bit/s", 1, 0),
    "l1": ("mel L1", 1, 3),
    "variance_ratio": ("mel variance", 1, 2),
    "sharpness_ratio": ("mel sharpness", 1, 2),
    "mcd_db": ("MCD dB", 1, 2),
    "f0_rmse_cents": ("F0 RMSE cents", 1, 0),
    "f0_correlation": ("F0 correlation", 1, 2),
    "f0_median_semitones": ("F0 median st", 1, 1),
    "f0_spread_semitones": ("F0 spread st", 1, 1),
    "f0_voicing_error": ("voicing errors %", 100, 1),
    "duration_error": ("duration error %", 100, 1),
    "duration_ratio": ("made / real in time", 1, 2),
    "similarity": ("speaker similarity", 1, 3),
    "target_similarity": ("similarity to the target", 1, 3),
    "source_similarity": ("similarity to the source", 1, 3),
    "dnsmos_made": ("DNSMOS", 1, 2),
    "cer_made": ("CER %", 100, 1),
    "cer": ("CER %", 100, 1),
    "wer_wer": ("WER %", 100, 1),
}
SURE = ("mcd_db", "similarity", "target_similarity", "source_similarity", "dnsmos_made", "cer_made", "cer", "wer_wer")


def main(scores: Path, rows: list[str], chosen: list[str]) -> int:
    """Print it, without columns that no row has."""
    found = {row: read(scores, row) for row in rows}
    columns = {key: COLUMNS[key] for key in chosen if any(key in values for values in found.values())}
    print(f"| | {' | '.join(heading for heading, _, _ in columns.values())} |")
    print(f"|---|{'---:|' * len(columns)}")
    for row, values in found.items():
        cells = [cell(values.get(key), factor, decimals, key in SURE)
                 for key, (_, factor, decimals) in columns.items()]  # fmt: skip
        print(f"| {row} | {' | '.join(cells)} |")
    return 0


def cell(figure: tuple[Any, Any] | None, factor: int, decimals: int, sure: bool) -> str:
    """`12.3 [11.0, 13.6]` of a value and its ends."""
    if figure is None or figure[0] is None:
        return "-"
    value, *ends = (f"{factor * number:.{decimals}f}" for number in (figure[0], *(figure[1] or ())))
    return f"{value} [{ends[0]}, {ends[1]}]" if sure and set(ends) - {value} else value


def read(scores: Path, row: str) -> dict[str, tuple[Any, Any]]:
    """All numbers of a row, each with the ends of its interval, or None; of an error rate with its counts the rate."""
    values: dict[str, tuple[Any, Any]] = {}
    own, beside = scores / f"{row}.json", sorted(scores.glob(f"{row}.*.json"))
    for path in [own, *beside] if own.exists() or not beside else beside:
        found = json.loads(path.read_text(encoding="utf-8"))
        name = path.stem.removeprefix(row).lstrip(".")
        ends = {key: pair for key, pair in found.get("intervals", {}).items() if None not in pair}
        figures = {key: with_ends(value, ends.get(key)) for key, value in found.items()}
        values |= figures | ({f"{name}_{key}": figure for key, figure in figures.items()} if name else {})
    return values


def with_ends(value: Any, ends: Any) -> tuple[Any, Any]:
    """A number with its ends, whichever way a file has them."""
    if not isinstance(value, dict):
        return value, ends
    ends = (value.get("low"), value.get("high"))
    return value.get("rate"), None if None in ends else ends


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or not set(sys.argv[3].split() if sys.argv[3:] else COLUMNS) <= set(COLUMNS):
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2].split(), sys.argv[3].split() if sys.argv[3:] else list(COLUMNS)))
