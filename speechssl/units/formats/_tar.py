"""Writing tar archives whose bytes are decided by their content: no dates, owners or modes of the moment.

A member is named by its utterance's id with everything but letters, digits, `-` and `_` escaped as in addresses: an id
is no path, and webdataset ends a key at the first dot.
"""

import io
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from speechssl.audio.source import open_regular
from speechssl.data.tar import members
from speechssl.errors import AudioError, CheckpointError, DataError
from speechssl.npy import read_npy

_LONGEST_NAME = 255  # bytes; no file system takes more, should somebody unpack the archive
_LONGEST_SUFFIX = 14  # .durations.npy


def key_of(utterance_id: str) -> str:
    """The part of a member's name that stands for an utterance."""
    return "".join(c if c.isalnum() or c in "-_" else quote(c, safe="").replace(".", "%2E") for c in utterance_id)


def id_of_key(key: str) -> str:
    """The inverse of `key_of`."""
    return unquote(key, errors="strict")


def why_no_name(utterance_id: str) -> str | None:
    """Why an id cannot name members of an archive, or None."""
    if len(key_of(utterance_id).encode()) > _LONGEST_NAME - _LONGEST_SUFFIX:
        return "too long for a file name of 255 bytes, once other characters than letters and digits are escaped"
    return None


class TarWriter:
    """Appends members to a new archive; nothing of them stays in memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.size = 0  # bytes so far

    def add(self, name: str, *parts: bytes | memoryview) -> None:
        """A member from its bytes."""
        info = tarfile.TarInfo(name)
        info.size = sum(memoryview(part).nbytes for part in parts)
        header = info.tobuf(tarfile.PAX_FORMAT, "utf-8")
        padding = bytes(-info.size % tarfile.BLOCKSIZE)
        for part in (header, *parts, padding):
            self._file.write(part)
        self.size += len(header) + info.size + len(padding)

    def add_array(self, name: str, array: np.ndarray) -> None:
        """A member as numpy.load reads it."""
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
        self.add(name, head.getvalue(), np.ascontiguousarray(array).data)

    def close(self) -> None:
        """Write the end mark."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.close()


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of an archive's members, one at a time. Raises DataError for what is damaged."""
    try:
        with closing(open_regular(path)) as file:
            for member in members(file, str(path)):
                if member.kind != "file":
                    raise DataError(f"{path}: {member.name!r} is no plain member")
                file.seek(member.offset)
                yield member.name, file.read(member.size)
    except (AudioError, OSError) as error:
        raise DataError(f"{path}: {error}") from None


def array_of(data: bytes, where: str) -> np.ndarray:
    """An array that `add_array` wrote. Raises DataError."""
    try:
        return read_npy(data, where)
    except CheckpointError as error:
        raise DataError(str(error)) from None
