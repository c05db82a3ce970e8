"""Tar archives by their headers: names, offsets and sizes of members, nothing extracted, nothing taken on trust.

Reads ustar, GNU and pax headers itself: Python's tarfile keeps every member in memory, reads extended headers of any
size, and follows links. Here every header's checksum is compared, extended headers are at most 1 MiB, a member must lie
inside the file, and the end mark must be there, without which a cut archive cannot be told from a whole one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from speechssl.errors import DataError

BLOCK = 512
_MOST_EXTENDED = 1 << 20  # bytes of a pax header or a long name
_MOST_AFTER_END = 1 << 20  # bytes of zeros that writers add after the end mark
_KINDS = {b"0": "file", b"\0": "file", b"7": "file", b"1": "link", b"2": "link", b"3": "device", b"4": "device",
          b"5": "folder", b"6": "device", b"S": "sparse"}  # fmt: skip
_WITHOUT_DATA = ("link", "device", "folder")


@dataclass(frozen=True, slots=True)
class Member:
    """One entry: `kind` is "file", or "folder", "link", "device", "sparse", "unknown", whose bytes are of no use."""

    name: str  # odd bytes as surrogates
    kind: str
    offset: int  # of its bytes in the archive
    size: int


def members(file: BinaryIO, where: str) -> Iterator[Member]:
    """All entries in order. Raises DataError, beginning with `where`, for what is no whole tar archive."""
    total = file.seek(0, 2)
    position = 0
    name: str | None = None  # for the next entry, from extended headers
    pax: dict[str, bytes] = {}
    while True:
        head = _read(file, position, BLOCK, where)
        if len(head) < BLOCK:
            raise DataError(f"{where}: cut at byte {position}: no end mark")
        if not any(head):
            _check_end(file, position, total, where)
            return
        kind, size = _check(head, position, where)
        position += BLOCK
        if head[156:157] in (b"L", b"K", b"x", b"g"):
            if size > _MOST_EXTENDED:
                raise DataError(f"{where}: an extended header of {size} bytes at byte {position - BLOCK}")
            data = _read(file, position, size, where)
            if len(data) < size:
                raise DataError(f"{where}: cut at byte {position + len(data)}")
            position += size + -size % BLOCK
            if head[156:157] == b"L":
                name = data.split(b"\0")[0].decode("utf-8", "surrogateescape")
            elif head[156:157] == b"x":
                pax = _records(data, position, where)
            elif head[156:157] == b"g" and {"path", "size"} & _records(data, position, where).keys():
                raise DataError(f"{where}: a global header that names every member at byte {position}")
            continue
        if "size" in pax:
            if not pax["size"].isdigit() or len(pax["size"]) > 18:
                raise DataError(f"{where}: a size of {pax['size'][:40]!r} at byte {position}")
            size = int(pax["size"])
        if "path" in pax:
            name = pax["path"].decode("utf-8", "surrogateescape")
        if any(key.startswith("GNU.sparse.") for key in pax):
            kind = "sparse"
        if name is None:
            name = _name(head)
        if kind == "file" and name.endswith("/"):
            kind = "folder"
        position = _past_sparse(file, head, position, where)
        size = 0 if kind in _WITHOUT_DATA else size
        if position + size > total:
            raise DataError(
                f"{where}: member {name!r} of {size} bytes does not fit in the archive of {total}: it is cut"
            )
        yield Member(name, kind, position, size)
        position += size + -size % BLOCK
        name, pax = None, {}


def _read(file: BinaryIO, start: int, size: int, where: str) -> bytes:
    try:
        file.seek(start)
        return file.read(size)
    except OverflowError:  # an offset that no file has
        raise DataError(f"{where}: damaged: points to byte {start}") from None


def _check(head: bytes, position: int, where: str) -> tuple[str, int]:
    """Kind and stated size of an entry."""
    blanked = head[:148] + b" " * 8 + head[156:]
    unsigned = sum(blanked)
    signed = unsigned - 256 * sum(byte > 127 for byte in blanked) if max(blanked) > 127 else unsigned  # of old writers
    if _number(head[148:156]) not in (unsigned, signed):
        raise DataError(f"{where}: no tar header at byte {position} (its checksum differs)")
    size = _number(head[124:136])
    if size is None or size >= 1 << 62:
        raise DataError(f"{where}: an impossible size at byte {position}")
    return _KINDS.get(head[156:157], "unknown"), size


def _number(field: bytes) -> int | None:
    """A number in octal digits, or in binary where the first bit is set."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0")
    if not digits:
        return 0
    return int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else None


def _name(head: bytes) -> str:
    name = head[:100].split(b"\0")[0]
    prefix = head[345:500].split(b"\0")[0] if head[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def _records(data: bytes, position: int, where: str) -> dict[str, bytes]:
    """`length key=value` lines of a pax header; the length counts the line."""
    records: dict[str, bytes] = {}
    start = 0
    while start < len(data):
        length, _, _ = data[start : start + 20].partition(b" ")
        end = start + int(length) if length.isdigit() else 0
        key, equals, value = data[start + len(length) + 1 : end - 1].partition(b"=")
        if not equals or end > len(data) or data[end - 1 : end] != b"\n":
            raise DataError(f"{where}: a damaged pax header before byte {position}")
        records[key.decode("utf-8", "replace")] = value
        start = end
    return records


def _past_sparse(file: BinaryIO, head: bytes, position: int, where: str) -> int:
    """Where the data begin: GNU's sparse members may have further headers."""
    more = head[156:157] == b"S" and head[482] != 0
    while more:
        block = _read(file, position, BLOCK, where)
        if len(block) < BLOCK:
            raise DataError(f"{where}: cut at byte {position}")
        position += BLOCK
        more = block[504] != 0
    return position


def _check_end(file: BinaryIO, position: int, total: int, where: str) -> None:
    """Nothing but zeros may follow the end mark: archives joined with `cat` would lose all but the first."""
    left = total - position
    if left < 2 * BLOCK:
        raise DataError(f"{where}: cut at byte {total}: half an end mark")
    if left > _MOST_AFTER_END or any(_read(file, position, left, where)):
        raise DataError(
            f"{where}: more follows the end mark at byte {position}; archives joined with cat must be given one by one"
        )
