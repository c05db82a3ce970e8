"""What is printed for people cannot command their terminal: control characters in ids, names and messages are shown.

Errors are always shown so; standard output where it is a terminal (into a file or a program, ids go as they are).
"""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# C0 and C1 controls but tab and newline, marks that turn the direction of writing, halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    """The text with `\\x1b` and the like in words; a carriage return stays at either end, as in progress lines."""
    start, end = text.startswith("\r"), len(text) > 1 and text.endswith("\r")
    inner = text[start : len(text) - end]
    return "\r" * start + _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], inner) + "\r" * end


class Escaping:
    """A text stream that writes escaped text to another one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it, escaped."""
        self._stream.write(escape(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def escaping() -> Iterator[None]:
    """Standard error, and standard output where it is a terminal, escape what is printed."""
    out, err = sys.stdout, sys.stderr
    sys.stderr = Escaping(err)
    if out.isatty():
        sys.stdout = Escaping(out)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
