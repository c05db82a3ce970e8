#!/usr/bin/env python3
"""What a codec does to speech, as a Markdown table: table.py EXP

From EXP/codec/log.jsonl (validation before the first update and after the last), EXP/codec/codec/codec.json,
EXP/codes/report.json and EXP/again.json (speed of encoding and of decoding).
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(exp: Path) -> None:
    rows = [json.loads(line) for line in (exp / "codec" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    valid: list[dict[str, Any]] = [row for row in rows if row["kind"] == "valid"]
    codec = json.loads((exp / "codec" / "codec" / "codec.json").read_text(encoding="utf-8"))
    encoded = json.loads((exp / "codes" / "report.json").read_text(encoding="utf-8"))
    decoded = json.loads(exp.joinpath("again.json").read_text(encoding="utf-8"))
    print("| updates | mel distance | SI-SDR dB | bit/s | encoding x real time | decoding x real time |")
    print("|---:|---:|---:|---:|---:|---:|")
    for row in (valid[0], valid[-1]):
        ending = "| | |"
        if row is valid[-1]:
            speed = decoded["seconds"] / decoded["wall_s"] if decoded["made"] else float("nan")
            ending = f"| {encoded['speed']:.3g} | {speed:.3g} |"
        print(f"| {row['update']} | {row['mel']:.3f} | {row['si_sdr_db']:.1f} | {codec['bitrate']:.0f} {ending}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
