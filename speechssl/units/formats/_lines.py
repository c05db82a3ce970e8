"""What the line-based formats share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechssl import files
from speechssl.data.lines import check_id
from speechssl.errors import DataError


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines without their newline; only \\n ends a line."""
    try:
        files.check_regular(path)
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith("\n"):
                    raise DataError(f"{path}:{number}: the last line has no end: the file was cut")
                yield number, line[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from error


def integers(text: str, where: str) -> NDArray[np.int64]:
    """Numbers separated by single spaces."""
    try:
        return np.array([int(word) for word in text.split(" ")] if text else [], dtype=np.int64)
    except (ValueError, OverflowError):
        raise DataError(f"{where}: expected numbers, found {text[:60]!r}") from None


def why_no_word(utterance_id: str) -> str | None:
    """Why an id cannot be a word of a line, or None."""
    try:
        check_id(utterance_id, "")
    except DataError:
        return "holds white space or control characters, which this format cannot"
    return None
