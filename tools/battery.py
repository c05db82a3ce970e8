"""The whole battery of bad input, faults and attacks, in full counts, and a table of what came of it.

    python tools/battery.py [-o docs/battery.md] [pytest arguments]

`make test` runs the same tests with reduced counts. The table says on which commit and machine it was made and how long
it took. Exit code: pytest's.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="write the table into this file too")
    parser.add_argument("--processes", type=int, default=2, help="tests side by side (default 2)")
    args, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="battery-") as folder:
        totals = Path(folder, "totals.jsonl")
        totals.touch()
        environment = dict(
            os.environ, SPEECHSSL_BATTERY="full", SPEECHSSL_BATTERY_TOTALS=str(totals), OMP_NUM_THREADS="1"
        )
        began = time.monotonic()
        command = [sys.executable, "-m", "pytest", "tests/battery", "-n", str(args.processes), "--dist", "loadgroup"]
        result = subprocess.run([*command, *others], cwd=ROOT, env=environment, check=False)
        wall_s = time.monotonic() - began
        lines = [json.loads(line) for line in totals.read_text(encoding="utf-8").splitlines()]
    text = table(lines, wall_s, result.returncode)
    print(text)
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    return result.returncode


def table(lines: list[dict[str, object]], wall_s: float, status: int) -> str:
    """Markdown: how it was run, then a row per battery."""
    verdict = "all passed" if status == 0 else f"FAILED (pytest {status})"
    rows = []
    for line in sorted(lines, key=lambda line: str(line["what"])):
        figures = line["figures"]
        assert isinstance(figures, dict)
        cells = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        rows.append(f"| {line['what']} | {cells} |")
    return "\n".join(
        [
            "# The last full battery",
            "",
            f"`python tools/battery.py -o docs/battery.md`: {verdict}, {wall_s / 60:.1f} minutes, commit {commit()}, "
            f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}, Python {platform.python_version()}, "
            f"{os.cpu_count()} cores {cpu()}.",
            "",
            "| battery | totals |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def commit() -> str:
    """This checkout's commit, with a plus where files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "speechssl", "tests")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def cpu() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    sys.exit(main())
