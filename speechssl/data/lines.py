"""Text files line by line, strictly: UTF-8, lines end at LF alone, fields are split at ASCII white space alone.

Python's own `str.split` and `splitlines` also break at no-break spaces and line separators, which may be part of an id.
"""

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from speechssl.audio.source import open_regular
from speechssl.errors import AudioError, DataError, naming

_NOT_IN_IDS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")  # \s: Unicode white space too
MAX_LINE = 64 << 20  # bytes; a longer line is no manifest


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text without its line end, of a file that may be gzipped (by its name).

    Raises DataError: not a regular file, not UTF-8, a line that does not end within MAX_LINE.
    """
    for number, line in read_byte_lines(path):
        yield number, decode(line, path, number)


def read_byte_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """As `read_lines`, undecoded."""
    try:
        raw = open_regular(path)
    except AudioError as error:
        raise DataError(str(error)) from None
    with raw:
        file = gzip.GzipFile(fileobj=raw) if str(path).endswith(".gz") else raw
        number = 0
        try:
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    raise DataError(f"{path}:{number}: line longer than {MAX_LINE} bytes")
                if number == 1 and line.startswith(codecs.BOM_UTF8):
                    raise DataError(f"{path}:1: begins with a byte order mark; remove it")
                yield number, line.removesuffix(b"\n").removesuffix(b"\r")
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DataError(f"{path}:{number + 1}: damaged gzip file: {error}") from None
        except OSError as error:
            raise DataError(f"{path}:{number + 1}: cannot be read: {error.strerror}") from None


def decode(line: bytes, path: str | Path, number: int) -> str:
    """The line as text. Raises DataError naming file and line where it is not UTF-8 or holds NUL."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{number}: not UTF-8: {error.reason} at byte {error.start}") from None
    if "\0" in text:
        raise DataError(f"{path}:{number}: NUL in text")
    return text


def check_id(key: str, where: str) -> None:
    """Raise DataError, beginning with `where`, for an id that a `key value` line cannot hold."""
    if not key or _NOT_IN_IDS.search(key):
        raise DataError(f"{where}: id {key!r} is empty or holds white space or control characters, impossible here")


def parse_object(line: str, where: str) -> dict[str, Any]:
    """A JSON object. Raises DataError that begins with `where` (file:line)."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, found {line[:40]!r}")
    return row


def read_table(path: str | Path, *, empty_ok: bool = False) -> Iterator[tuple[int, str, str]]:
    """Line number, first field and the rest of each `key value…` line (Kaldi's tables).

    Raises DataError for an empty line, and for a key without value unless `empty_ok`.
    """
    for number, line in read_byte_lines(path):
        fields = line.split(None, 1)
        if not fields:
            raise DataError(f"{path}:{number}: empty line")
        value = decode(fields[1].strip(), path, number) if len(fields) == 2 else ""
        key = decode(fields[0], path, number)
        if not value and not empty_ok:
            raise DataError(f"{path}:{number}: {key!r} has no value")
        yield number, key, value


def read_unique(path: str | Path, *, empty_ok: bool = False) -> dict[str, str]:
    """A table as a dict in file order. Raises DataError where a key comes twice, with both lines."""
    table: dict[str, str] = {}
    for number, key, value in read_table(path, empty_ok=empty_ok):
        if key in table:
            first = next(n for n, k, _ in read_table(path, empty_ok=empty_ok) if k == key)
            raise DataError(f"{path}:{number}: {key!r} was given before, in line {first}")
        table[key] = value
    return table


def seconds(row: Mapping[str, Any], key: str, where: str) -> float | None:
    """A time in a JSON row; None where there is none. Raises DataError."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise DataError(f"{where}: {key} must be seconds from 0, found {value!r}"[:300])
    return float(value)


def check_target(*paths: Path) -> None:
    """Raise DataError where one of the files is there already."""
    for path in paths:
        if path.exists():
            raise DataError(f"{path}: exists already; remove it or choose another name")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines through a temporary file; gzipped where the name ends in .gz. DataError where it is not UTF-8."""
    write_several({path: lines})


def write_several(contents: Mapping[Path, Iterable[str]]) -> None:
    """As `write_lines` for files that belong together: none is there before all of them are written.

    The last one comes last: let it be the one that leads to the others.
    """
    temporaries = {path: path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp") for path in contents}
    try:
        for path, lines in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with naming(path):
                _write(temporaries[path], path, lines)
        for path, temporary in temporaries.items():
            temporary.replace(path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def _write(temporary: Path, path: Path, lines: Iterable[str]) -> None:
    with temporary.open("xb") as raw:  # never through a link that somebody put there
        file = gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) if path.suffix == ".gz" else raw
        file.writelines(_encoded(lines, path))
        if file is not raw:
            file.close()


def _encoded(lines: Iterable[str], path: Path) -> Iterator[bytes]:
    for line in lines:
        try:
            yield line.encode("utf-8") + b"\n"
        except UnicodeEncodeError:
            raise DataError(f"{path}: {line[:80]!r} cannot be written as UTF-8") from None
