"""Utterances in bounded memory: few are a list, many lie in a temporary file and are read as they are wanted.

What a corpus was when it was opened stays so: manifests that change later change nothing. The temporary file (in
$TMPDIR, some 20 bytes per utterance, without a name, gone with the process) holds compressed blocks of 256 rows.
"""

import json
import os
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NoReturn, overload

from speechssl.data.twice import IdCheck, write_all
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError

IN_MEMORY = 1 << 16  # utterances; some 30 MB
_BLOCK = 256  # rows

Clash = Callable[[int, Utterance, int, Utterance], str]  # two rows with one id, by number from 1: the error's text


def collect(utterances: Iterable[Utterance], clash: Clash, *, in_memory: int | None = None) -> Sequence[Utterance]:
    """All utterances of a stream as a sequence: a list, or a `Spool` where there are more than `in_memory`.

    Raises DataError, with the text that `clash` gives, where an id comes twice.
    """
    limit = IN_MEMORY if in_memory is None else in_memory
    stream = iter(utterances)
    held: dict[str, Utterance] = {}
    for number, utterance in enumerate(stream, 1):
        if utterance.id in held:
            raise DataError(clash(list(held).index(utterance.id) + 1, held[utterance.id], number, utterance))
        held[utterance.id] = utterance
        if number > limit:
            break
    else:
        return list(held.values())
    check = IdCheck()
    spool = Spool(_noting(chain(list(held.values()), stream), check))
    twice = check.clash(lambda: (utterance.id for utterance in spool))
    if twice:
        first, second = twice
        raise DataError(clash(first, spool[first - 1], second, spool[second - 1]))
    return spool


def comes_twice(source: str) -> Clash:
    """The usual text for two rows with one id."""
    return lambda first, one, second, other: (
        f"{source}: {one.id!r} comes twice, as utterance no. {first} and no. {second}"
    )


class Spool(Sequence[Utterance]):
    """A sequence of utterances in a temporary file. Slices in order are fast; a single row costs a block of 256.

    May be read by forked processes too, but does not pickle: send rows to other processes, not the corpus.
    """

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        self._file = tempfile.TemporaryFile(prefix="speechssl-rows-")  # noqa: SIM115 (lives as long as this object)
        self._starts = array("Q", [0])  # byte offset of each block, and the end
        self._len = 0
        self._last: tuple[int, list[Utterance]] = (-1, [])  # the block read last
        stream = iter(utterances)
        while block := list(islice(stream, _BLOCK)):
            # JSON: its escapes keep the surrogates that stand for odd bytes of file names
            data = zlib.compress(json.dumps([_fields(utterance) for utterance in block]).encode(), 1)
            write_all(self._file, data)
            self._starts.append(self._starts[-1] + len(data))
            self._len += len(block)

    def __len__(self) -> int:
        return self._len

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...
    def __getitem__(self, index: int | slice) -> Utterance | list[Utterance]:
        """A row, or a list of rows."""
        if isinstance(index, slice):
            wanted = range(self._len)[index]
            if wanted.step != 1:
                return [self[row] for row in wanted]
            blocks = range(wanted.start // _BLOCK, -(-wanted.stop // _BLOCK)) if wanted else range(0)
            rows = [row for block in blocks for row in self._read(block)]
            skipped = blocks.start * _BLOCK
            return rows[wanted.start - skipped : wanted.stop - skipped]
        row = index + self._len if index < 0 else index
        if not 0 <= row < self._len:
            raise IndexError(f"row {index} of {self._len}")
        return self._read(row // _BLOCK)[row % _BLOCK]

    def __iter__(self) -> Iterator[Utterance]:
        for block in range(len(self._starts) - 1):
            yield from self._read(block)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a corpus in a temporary file does not pickle: send its rows, or open it there again")

    def _read(self, block: int) -> list[Utterance]:
        number, rows = self._last
        if number != block:
            start = self._starts[block]
            data = os.pread(self._file.fileno(), self._starts[block + 1] - start, start)
            rows = [Utterance(*fields) for fields in json.loads(zlib.decompress(data))]
            self._last = block, rows
        return rows


def _fields(utterance: Utterance) -> tuple[Any, ...]:
    return (
        utterance.id, utterance.audio, utterance.start_s, utterance.end_s, utterance.pipe, utterance.speaker,
        utterance.text, None if utterance.extra is None else dict(utterance.extra), utterance.recording,
    )  # fmt: skip


def _noting(utterances: Iterable[Utterance], check: IdCheck) -> Iterator[Utterance]:
    for utterance in utterances:
        check.add(utterance.id)
        yield utterance
