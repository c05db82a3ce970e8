"""One line on stderr that says how far the run is: rewritten on a terminal, a new one now and then elsewhere."""

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

_TERMINAL_S, _PLAIN_S = 0.5, 30.0  # between lines


@dataclass
class Progress:
    """Counts utterances and audio of this run. `before` utterances were done by earlier runs."""

    total: int
    before: int
    quiet: bool = False
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    rows: int = 0
    seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _width: int = 0

    def add(self, rows: int, seconds: float) -> None:
        """A shard is done."""
        self.rows += rows
        self.seconds += seconds

    def show(self, rows: int, seconds: float) -> None:
        """Print, if it is time. rows, seconds: in shards that are still in hand."""
        now = time.monotonic()
        terminal = self.stream.isatty()
        if self.quiet or now - max(self._shown, self._began) < (_TERMINAL_S if terminal else _PLAIN_S):
            return
        self._shown = now
        line = self.line(rows, seconds, now - self._began)
        self.stream.write(f"\r{line:<{self._width}}" if terminal else f"{line}\n")
        self._width = len(line)
        self.stream.flush()

    def say(self, line: str) -> None:
        """Print a line, at any time."""
        if not self.quiet:
            self.stream.write(f"{line}\n")

    def line(self, rows: int, seconds: float, elapsed: float) -> str:
        """What is printed after `elapsed` seconds."""
        rows, seconds = rows + self.rows, seconds + self.seconds
        done = rows + self.before
        rate = rows / elapsed if elapsed > 0 else 0.0
        left = f"{clock((self.total - done) / rate)} left" if rate else "no rate yet"
        speed = seconds / elapsed if elapsed > 0 else 0.0
        share = 100 * done / max(1, self.total)
        return f"{done}/{self.total} utterances ({share:.0f} %)  {rate:.1f}/s  {speed:.0f} x real time  {left}"

    def end(self) -> None:
        """Leave a terminal's line."""
        if self._width and self.stream.isatty():
            self.stream.write("\r" + " " * self._width + "\r")
            self.stream.flush()


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
