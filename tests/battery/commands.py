"""The command line as a process of its own, to be killed with or without its children, and what became of them all."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 300.0  # for what takes a second or two on an idle machine


class Command:
    """`python -m speechssl …` in a process group of its own."""

    def __init__(self, *words: object, log: Path, **environment: str) -> None:
        self.log = log
        command = [sys.executable, "-m", "speechssl", *map(str, words)]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=variables, start_new_session=True
            )
        self.pid = self.process.pid

    def running(self) -> bool:
        """Whether the command itself has not ended."""
        return self.process.poll() is None

    def wait_until(self, happened: Callable[[], bool]) -> bool:
        """Wait for something, or for the command's end; whether it happened first."""
        return _wait(lambda: happened() or not self.running()) and self.running()

    def send(self, number: signal.Signals, *, group: bool) -> None:
        """Signal the command alone, or with every process that it started."""
        if group:
            os.killpg(self.pid, number)
        else:
            self.process.send_signal(number)

    def kill(self, *, group: bool) -> float:
        """SIGKILL; returns the seconds until no process of the group was left."""
        self.send(signal.SIGKILL, group=group)
        self.process.wait()
        began = time.monotonic()
        gone = _wait(lambda: not members(self.pid))
        left = members(self.pid)
        assert gone, f"{len(left)} processes outlive their parent: {left}"
        return time.monotonic() - began

    def finish(self) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(PATIENCE_S)

    def said(self) -> str:
        """What it printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def run(*words: object, log: Path, codes: Sequence[int] = (0,), **environment: str) -> str:
    """Run a command to its end; what it printed. Fails where its exit code is none of `codes`."""
    command = Command(*words, log=log, **environment)
    code = command.finish()
    assert code in codes, f"exit code {code}: {command.said()}"
    return command.said()


def members(group: int) -> list[int]:
    """The living processes of a group; not those that ended and were not waited for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(path.parent.name))
    return found


def _wait(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
