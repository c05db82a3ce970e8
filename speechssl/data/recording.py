"""From an utterance's `audio` to an open recording: a file, a member of a Kaldi archive or a tar, a command's output, a
file or a tar's member behind an address.
"""

import io
import os
import re
import shutil
import tempfile
from typing import BinaryIO

from speechssl.audio.source import Source, open_regular
from speechssl.data import pipes, remote
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError

_MEMBER = re.compile(r"(?s)(.+):(\d{1,18})\Z")
_RANGE = re.compile(r"(?s)(.+):(\d{1,18}):(\d{1,18})\Z")
_IN_MEMORY = 32 << 20  # bytes; larger archive members are copied to a temporary file


def open_recording(utterance: Utterance, *, allow_pipes: bool = False, allow_remote: bool = False) -> Source:
    """The recording that holds the utterance, header checked. Raises AudioError.

    Commands run and addresses are opened only if allowed.
    """
    if utterance.pipe:
        if not allow_pipes:
            raise AudioError("pipe-refused", f"{utterance.audio!r} is a command; add --allow-pipes to run commands")
        return Source(utterance.audio, pipes.run(utterance.audio), streamed=True)
    if remote.is_address(utterance.audio):
        if not allow_remote:
            message = f"{utterance.shown} is an address; add --allow-remote to read from other machines"
            raise AudioError("remote-refused", message)
        address, start, size = split_range(utterance.audio) or (utterance.audio, 0, None)
        return Source(utterance.shown, remote.fetch(address, start, size))
    stretch = split_range(utterance.audio)
    if stretch:
        return Source(utterance.audio, read_range(*stretch))
    member = split_member(utterance.audio)
    return Source(utterance.audio, read_member(*member)) if member else Source(utterance.audio)


def split_member(entry: str) -> tuple[str, int] | None:
    """Archive and byte offset of `path:offset`, Kaldi's way to name a member; None where a file has that very name."""
    match = _MEMBER.match(entry)
    if match is None or path_exists(entry):
        return None
    return match[1], int(match[2])


def split_range(entry: str) -> tuple[str, int, int] | None:
    """Archive, byte offset and size of `path:offset:size`, a member of a tar; None where a file has that very name.

    `a:1:2` is taken for offset 2 of the Kaldi archive `a:1` where there is a file of that name.
    """
    match = _RANGE.match(entry)
    if match is None:
        return None
    if not remote.is_address(entry) and (path_exists(entry) or path_exists(f"{match[1]}:{match[2]}")):
        return None
    return match[1], int(match[2]), int(match[3])


def container_of(entry: str) -> str:
    """The file that holds an entry: itself, or the archive that it is a member of."""
    found = split_range(entry) or split_member(entry)
    return found[0] if found else entry


def is_file(entry: str) -> bool:
    """Whether an entry is a whole file of this machine: no address, no member of an archive."""
    return not (remote.is_address(entry) or split_range(entry) or split_member(entry))


def path_exists(path: str) -> bool:
    """Whether something is there; false, and no error, for names that no file can have."""
    return os.path.exists(path)  # noqa: PTH110 (pathlib raises where a name is too long)


def read_member(path: str, offset: int) -> BinaryIO:
    """A recording inside a Kaldi archive: WAV as it is, or behind kaldiio's AUDIO mark. Raises AudioError."""
    name = f"{path}:{offset}"
    with open_regular(path) as file:
        left = file.seek(0, 2) - offset
        if left <= 0:
            raise AudioError("truncated", f"{name}: the archive ends before")
        file.seek(offset)
        head = file.read(16)
        if head[:4] == b"RIFF" and len(head) >= 8:
            start, size = offset, int.from_bytes(head[4:8], "little") + 8
        elif head[:5] == b"AUDIO" and len(head) == 16 and 0 < head[5] <= 8:
            start, size = offset + 6 + head[5], int.from_bytes(head[6 : 6 + head[5]], "little")
        else:
            raise AudioError("unsupported", f"{name}: no recording begins there")
        if start + size > offset + left:
            raise AudioError("truncated", f"{name}: the recording has {size} bytes, the archive ends before")
        return _copy(file, start, size)


def read_range(path: str, offset: int, size: int) -> BinaryIO:
    """`size` bytes of a file from `offset`. Raises AudioError where the file ends before."""
    with open_regular(path) as file:
        if offset + size > file.seek(0, 2):
            raise AudioError("truncated", f"{path}:{offset}:{size}: the archive ends before")
        return _copy(file, offset, size)


def _copy(file: BinaryIO, start: int, size: int) -> BinaryIO:
    file.seek(start)
    if size <= _IN_MEMORY:
        return io.BytesIO(file.read(size))
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    shutil.copyfileobj(_Limited(file, size), copy)
    return copy


class _Limited:
    """The next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data
