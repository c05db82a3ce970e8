"""Small files from outside, read whole: regular files only, so that a FIFO or a device cannot make us wait, and never
more bytes than such a file may have."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 64 << 20


def read_bytes(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file. Raises OSError, also for what is no file or has more than `most` bytes."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO opens at once
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.ENOENT, str(error), os.fspath(path)) from None
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes, which no such file has", os.fspath(path))
    return data


def read_text(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> str:
    """The text of a regular file in UTF-8, line ends as they are. Raises OSError, UnicodeDecodeError (a ValueError)."""
    return read_bytes(path, most=most).decode("utf-8")


def read_json(path: str | os.PathLike[str], *, most: int = MOST_BYTES) -> Any:
    """The value of a JSON file. Raises OSError, ValueError (also for nesting too deep to read)."""
    try:
        return json.loads(read_text(path, most=most))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def most_unpacked(num_bytes: int) -> int:
    """What so many compressed bytes of a model may unpack to: numbers hardly shrink, bombs shrink a thousandfold."""
    return (64 << 20) + 100 * num_bytes


def check_regular(path: str | os.PathLike[str]) -> None:
    """OSError unless a library may open `path`: for those that would wait for a FIFO."""
    try:
        mode = Path(path).stat().st_mode
    except ValueError as error:
        raise OSError(errno.ENOENT, str(error), os.fspath(path)) from None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def has_format(card: Path, form: str, *, most: int) -> bool:
    """Whether a card, a JSON file, is there and says it is of that format. Nothing else is looked at."""
    try:
        raw = read_json(card, most=most) if card.is_file() else None
    except (OSError, ValueError):
        return False
    return isinstance(raw, dict) and raw.get("format") == form
