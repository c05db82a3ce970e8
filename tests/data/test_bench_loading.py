"""The bench of loading runs, and every contestant reads all speech (which the bench itself checks)."""

import subprocess
import sys
from pathlib import Path

from tests.training.helpers import corpus

BENCH = Path(__file__).parents[2] / "tools" / "bench" / "loading.py"


def test_every_contestant_of_the_loading_bench_reads_everything(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH), str(corpus(tmp_path / "tones")), "--batch", "6", "--workers", "1",
               "--rounds", "1"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"ours", "plain"} <= {line.split()[2] for line in done.stdout.splitlines()[1:]}
