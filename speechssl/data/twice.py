"""Does an id come twice in a stream of any length? Memory does not grow with it: hashes go to a temporary file.

Eight bytes per id on the disk, in sorted runs; at the end one stretch of the range of hashes after the other is put
together and looked at. Hashes that come twice only make a suspicion: the ids themselves are compared in a second look
at the stream, which is needed for real duplicates and once in a million streams for chance.
"""

import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_RUN = 1 << 20  # hashes held in memory: 8 MiB
_STRETCHES = 64  # of the range of 64-bit hashes, looked at one by one
_BOUNDS = np.array([-(1 << 63) + i * (1 << 63) // (_STRETCHES // 2) for i in range(1, _STRETCHES)], dtype=np.int64)


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write to a temporary file at once; where there is no room, the error says what to do."""
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        advice = f"{error.strerror}: rows of large corpora go there; set TMPDIR to a folder with room"
        raise OSError(error.errno, advice, tempfile.gettempdir()) from None


class IdCheck:
    """Takes ids one by one with `add`; `clash` tells of one that came twice."""

    def __init__(self, *, run: int | None = None) -> None:
        self._hashes = array("q")
        self._run = run or _RUN
        self._file: BinaryIO | None = None  # made when the first run is full
        self._runs: list[NDArray[np.int64]] = []  # positions in the file, in hashes: where each stretch begins
        self._size = 0

    def add(self, key: str) -> None:
        """One more id."""
        self._hashes.append(hash(key))  # 64 bits of SipHash, with a key of this process's own
        if len(self._hashes) >= self._run:
            self._write()

    def clash(self, keys: Callable[[], Iterable[str]]) -> tuple[int, int] | None:
        """Numbers (from 1) of two ids that are equal, or None. `keys` gives the same ids once more."""
        for suspects in self._suspects():
            first: dict[str, int] = {}
            for number, key in enumerate(keys(), 1):
                if hash(key) in suspects and first.setdefault(key, number) != number:
                    return first[key], number
        return None

    def _write(self) -> None:
        values = np.sort(np.frombuffer(self._hashes, dtype=np.int64))
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="speechssl-ids-")  # noqa: SIM115 (lives as long as this object)
        write_all(self._file, values.data)
        inner = np.searchsorted(values, _BOUNDS)
        self._runs.append(self._size + np.concatenate([[0], inner, [len(values)]]).astype(np.int64))
        self._size += len(values)
        self._hashes = array("q")

    def _suspects(self) -> Iterator[set[int]]:
        """Hashes that came more than once, where there are any: all together, or a stretch at a time."""
        rest = np.sort(np.frombuffer(self._hashes, dtype=np.int64)) if len(self._hashes) else np.zeros(0, np.int64)
        for values in self._stretches(rest) if self._runs else [rest]:
            doubled = set(values[1:][values[1:] == values[:-1]].tolist())
            if doubled:
                yield doubled

    def _stretches(self, rest: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        assert self._file is not None
        edges = [0, *np.searchsorted(rest, _BOUNDS).tolist(), len(rest)]
        for index in range(_STRETCHES):
            parts = [rest[edges[index] : edges[index + 1]]]
            for run in self._runs:
                start, size = int(run[index]) * 8, int(run[index + 1] - run[index]) * 8
                parts.append(np.frombuffer(os.pread(self._file.fileno(), size, start), dtype=np.int64))
            yield np.sort(np.concatenate(parts))
