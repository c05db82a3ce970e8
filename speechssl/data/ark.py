"""Kaldi archives (`.ark`) of float matrices and vectors and of int32 vectors, with their index (`.scp`).

Reads binary (FM DM FV DV, compressed CM CM2 CM3, int32 vectors) and text; writes binary FM FV DM DV and int32 vectors.
Every size is checked against the file before memory is taken; whatever is wrong raises DataError.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from speechssl.audio.source import open_regular
from speechssl.data.lines import check_id, read_unique
from speechssl.data.recording import split_member
from speechssl.errors import AudioError, DataError

_MAX_ID = 1 << 16
_FLOATS = {b"FM ": "<f4", b"DM ": "<f8", b"FV ": "<f4", b"DV ": "<f8"}
_INTEGER = np.dtype([("mark", "i1"), ("value", "<i4")])


def read_ark(path: str | Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every entry of an archive: id and float [T, C], float [N] or int32 [N]. Raises DataError."""
    with _open(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        while (key := _read_id(file, path)) is not None:
            yield key, _read_value(file, size, f"{path}: {key!r}")


def read_at(entry: str) -> NDArray[Any]:
    """The array that an scp entry `path:offset` names. Raises DataError."""
    path, offset = split_member(entry) or (entry, 0)
    with _open(path) as file:
        size = file.seek(0, 2)
        if offset >= size:
            raise DataError(f"{entry}: the archive has only {size} bytes")
        file.seek(offset)
        return _read_value(file, size, entry)


class Scp(Mapping[str, NDArray[Any]]):
    """An scp index as a mapping from ids to arrays, read when asked for."""

    def __init__(self, path: str | Path) -> None:
        self._entries = read_unique(path)
        for key, entry in self._entries.items():
            if entry.endswith("|"):
                raise DataError(f"{path}: {key!r} is a command; only archives are read")

    def __getitem__(self, key: str) -> NDArray[Any]:
        return read_at(self._entries[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class ArkWriter:
    """Writes an archive and, if wanted, its index; a context manager. The index names the archive `ark_name`."""

    def __init__(self, ark: str | Path, scp: str | Path | None = None, *, ark_name: str | None = None) -> None:
        self._ark = Path(ark).open("wb")  # noqa: SIM115 (closed by `close`)
        self._scp = Path(scp).open("w", encoding="utf-8", newline="\n") if scp else None  # noqa: SIM115
        self._name = ark_name or str(ark)

    def write(self, key: str, array: NDArray[Any]) -> None:
        """Append an entry: float [T, C] or [N] (float32 unless float64), or integers [N]. Raises DataError."""
        offset = write_entry(self._ark, key, array)
        if self._scp:
            self._scp.write(f"{key} {self._name}:{offset}\n")

    def close(self) -> None:
        """Finish both files."""
        self._ark.close()
        if self._scp:
            self._scp.close()

    def __enter__(self) -> "ArkWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_entry(file: BinaryIO, key: str, array: NDArray[Any]) -> int:
    """Append an entry to an open archive; returns the offset that an index states for it. Raises DataError."""
    check_id(key, "a Kaldi archive")
    value = _encode(key, np.asarray(array))
    file.write(key.encode() + b" ")
    offset = file.tell()
    file.write(value)
    return offset


def _encode(key: str, array: NDArray[Any]) -> bytes:
    if np.issubdtype(array.dtype, np.integer) and array.ndim == 1:
        limits = np.iinfo(np.int32)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise DataError(f"{key!r}: {array.min()}..{array.max()} does not fit in 32 bits")
        values = np.empty(len(array), _INTEGER)
        values["mark"], values["value"] = 4, array
        return b"\0B" + _packed(len(array)) + values.tobytes()
    if np.issubdtype(array.dtype, np.floating) and array.ndim in (1, 2):
        letter, kind = (b"D", "<f8") if array.dtype == np.float64 else (b"F", "<f4")
        token = letter + (b"M " if array.ndim == 2 else b"V ")
        return b"\0B" + token + b"".join(_packed(n) for n in array.shape) + array.astype(kind).tobytes()
    raise DataError(f"{key!r}: {array.dtype} {array.shape} has no place in a Kaldi archive")


def _packed(number: int) -> bytes:
    return b"\x04" + number.to_bytes(4, "little", signed=True)


def _open(path: str | Path) -> BinaryIO:
    try:
        return open_regular(path)
    except AudioError as error:
        raise DataError(str(error)) from None


def _read_id(file: BinaryIO, path: str | Path) -> str | None:
    """The id before the next entry; None at the end of the archive."""
    key = bytearray()
    while (byte := file.read(1)) not in (b" ", b""):
        if byte in b"\n\r\t" and not key:
            continue
        key += byte
        if len(key) > _MAX_ID or byte in b"\0\n\r\t":
            raise DataError(f"{path}: no Kaldi archive (byte {file.tell()} should be part of an id)")
    if not key and not byte:
        return None
    if not byte or not key:
        raise DataError(f"{path}: ends inside an id" if not byte else f"{path}: empty id at byte {file.tell()}")
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path}: an id before byte {file.tell()} is not UTF-8") from None


def _read_value(file: BinaryIO, size: int, where: str) -> NDArray[Any]:
    start = file.tell()
    mark = file.read(2)
    if mark != b"\0B":
        file.seek(start)
        return _read_text(file, where)
    token = file.read(1)
    if token == b"\x04":
        count = _read_count(file, where, marked=True)
        values = np.frombuffer(_take(file, size, count * 5, where), _INTEGER)
        if (values["mark"] != 4).any():
            raise DataError(f"{where}: damaged integers")
        return values["value"].astype(np.int32)
    token += file.read(2)
    if token == b"CM " or (token in (b"CM2", b"CM3") and file.read(1) == b" "):
        return _read_compressed(file, size, token, where)
    if token not in _FLOATS:
        raise DataError(f"{where}: unknown kind of entry {token!r}")
    shape = [_read_count(file, where) for _ in range(2 if token[1:2] == b"M" else 1)]
    kind = np.dtype(_FLOATS[token])
    data = _take(file, size, int(np.prod(shape, dtype=object)) * kind.itemsize, where)
    return np.frombuffer(data, kind).reshape(shape).astype(kind.newbyteorder("="))


def _read_compressed(file: BinaryIO, size: int, token: bytes, where: str) -> NDArray[np.float32]:
    """Kaldi's CompressedMatrix: CM has four 16-bit quantiles per column and 8-bit values, column by column."""
    head = _take(file, size, 16, where)
    lowest, extent, rows, columns = struct.unpack("<ffii", head)
    if rows < 0 or columns < 0 or not (math.isfinite(lowest) and 0 <= extent < 1e38 and abs(lowest) < 1e38):
        raise DataError(f"{where}: a matrix of {rows} x {columns} from {lowest} over {extent}")
    if token == b"CM2":
        values = np.frombuffer(_take(file, size, rows * columns * 2, where), "<u2").reshape(rows, columns)
        return (lowest + extent / 65535 * values).astype(np.float32)
    if token == b"CM3":
        values = np.frombuffer(_take(file, size, rows * columns, where), "u1").reshape(rows, columns)
        return (lowest + extent / 255 * values).astype(np.float32)
    quantiles = np.frombuffer(_take(file, size, columns * 8, where), "<u2").reshape(columns, 4)
    corners = lowest + extent / 65535 * quantiles
    values = np.frombuffer(_take(file, size, rows * columns, where), "u1").reshape(columns, rows)
    levels = np.arange(256)
    tables = [np.interp(levels, [0, 64, 192, 255], column) for column in corners]
    decoded = [table[row] for table, row in zip(tables, values, strict=True)]
    return np.array(decoded, np.float32).reshape(columns, rows).T.copy()


def _read_text(file: BinaryIO, where: str) -> NDArray[Any]:
    line = file.readline(1 << 28).strip()
    try:
        if not line.startswith(b"["):
            return np.array([int(word) for word in line.split()], np.int32)
        rows = [line.removeprefix(b"[")]
        while not rows[-1].endswith(b"]"):
            line = file.readline(1 << 28)
            if not line:
                raise DataError(f"{where}: the archive ends inside a matrix")
            rows.append(line.strip())
        rows[-1] = rows[-1].removesuffix(b"]")
        values = [[float(word) for word in row.split()] for row in rows]
        return np.array(values[0] if len(rows) == 1 else [row for row in values if row], np.float32)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: neither binary nor numbers in text: {error}") from None


def _read_count(file: BinaryIO, where: str, *, marked: bool = False) -> int:
    data = file.read(4 if marked else 5)
    if not marked and data[:1] != b"\x04":
        raise DataError(f"{where}: damaged size")
    count = int.from_bytes(data[-4:], "little", signed=True)
    if len(data) < (4 if marked else 5) or count < 0:
        raise DataError(f"{where}: damaged size")
    return count


def _take(file: BinaryIO, size: int, num_bytes: int, where: str) -> bytes:
    if num_bytes > size - file.tell():
        raise DataError(f"{where}: announces {num_bytes} bytes, {size - file.tell()} are left in the archive")
    return file.read(num_bytes)
