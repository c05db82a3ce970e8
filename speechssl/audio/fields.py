"""What the container checks share: bounded reads and their findings."""

from dataclasses import dataclass, field
from typing import BinaryIO

_MAX_OFFSET = 1 << 43


class Damage(Exception):
    """A finding that makes a file unusable; `code` is the reason code. Becomes an AudioError with the file's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Facts:
    """What a container's header gives away."""

    unknown_length: bool = False
    md5: bytes | None = None  # of the decoded audio
    notes: list[str] = field(default_factory=list)


def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset`; fewer at the end of the file."""
    if offset >= _MAX_OFFSET:  # a damaged 64-bit size; no file is that long (8 TB), and seek may fail
        return b""
    file.seek(offset)
    return file.read(size)


def read_exactly(file: BinaryIO, offset: int, size: int, what: str) -> bytes:
    """Exactly `size` bytes from `offset`. Raises Damage("truncated")."""
    data = read_at(file, offset, size)
    if len(data) < size:
        raise Damage("truncated", f"the file ends inside its {what}")
    return data
