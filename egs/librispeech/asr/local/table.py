#!/usr/bin/env python3
"""table.py SCORES PAPERS: WER of SCORES/LABELS.DECODING.SET.json, below each row what papers have for the same.

95 % intervals are of the bootstrap over utterances. PAPERS has a column for each of: labels, decoding, paper, the sets.
"""

import csv
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "utils"))

from wer_table import interval

LABELS = ("10m", "1h", "10h", "100h", "960h")
DECODINGS = {"greedy": "greedy", "lm": "n-gram"}
SETS = ("dev-clean", "dev-other", "test-clean", "test-other")


def cell(path: Path) -> str:
    if not path.exists():
        return ""
    return interval(json.loads(path.read_text(encoding="utf-8"))["wer"], "rate", ".1f")


def main(scores: str, papers: str) -> int:
    with open(papers, encoding="utf-8", newline="") as file:
        known = list(csv.DictReader(file, delimiter="\t"))
    found = {tuple(path.name.split(".")[:2]) for path in Path(scores).glob("*.*.*.json")}
    if not found:
        print(f"{scores}: no scores", file=sys.stderr)
        return 2
    print(f"| labels | decoding | | {' | '.join(SETS)} |\n|---|---|---|" + "---:|" * len(SETS))
    for labels in LABELS:
        for decoding in DECODINGS:
            if (labels, decoding) not in found:
                continue
            cells = [cell(Path(scores, f"{labels}.{decoding}.{name}.json")) for name in SETS]
            print(f"| {labels} | {DECODINGS[decoding]} | this run | {' | '.join(cells)} |")
            for row in known:
                if (row["labels"], row["decoding"]) == (labels, decoding):
                    print(f"| | | {row['paper']} | {' | '.join(row[name] for name in SETS)} |")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
