#!/usr/bin/env python3
"""bleu_table.py SCORES PART "SYSTEM ...": what speechssl score found, as a table; and sacrebleu's signatures.

Of SCORES/SYSTEM-PART.json and, where they are there, .asr.json (both of score bleu) and .listening.json.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(folder: str, part: str, systems: str) -> int:
    """Print a row for each system."""
    signatures: dict[str, None] = {}
    print(f"| {part}: system | unit-BLEU | length ratio | ASR-BLEU | ASR-chrF | bits per unit from the source | "
          "own source preferred % | empty |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for system in systems.split():
        kinds = ("", ".asr", ".listening")
        units, texts, heard = (read(Path(folder) / f"{system}-{part}{kind}.json") for kind in kinds)
        found = [units.get("bleu"), texts.get("bleu"), texts.get("chrf")]
        signatures |= dict.fromkeys(row["signature"] for row in found if row)
        cells = [f"{row['score']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if row else "-" for row in found]
        ratio = units["bleu"]["length_ratio"] if units else None
        cells.insert(1, "-" if ratio is None else f"{ratio:.2f}")
        for name, factor, decimals in (("gained", 1, 3), ("preferred", 100, 1)):
            numbers = [f"{factor * heard[name][key]:.{decimals}f}" for key in ("value", "low", "high")] if heard else []
            cells.append("{} [{}, {}]".format(*numbers) if heard else "-")
        told = units or texts
        cells.append(f"{told['empty']} of {told['utterances']}" if told else "-")
        print(f"| {system} | {' | '.join(cells)} |")
    print("\n".join(signatures))
    return 0


def read(path: Path) -> dict[str, Any]:
    """What was found; nothing where it was not asked for."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
