"""From an utterance's `audio` to an open recording: a file, a member of a Kaldi archive, or a command's output."""

import io
import os
import re
import shutil
import tempfile
from typing import BinaryIO

from speechssl.audio.source import Source, open_regular
from speechssl.data import pipes
from speechssl.data.utterance import Utterance
from speechssl.errors import AudioError

_MEMBER = re.compile(r"(?s)(.+):(\d{1,18})\Z")
_IN_MEMORY = 32 << 20  # bytes; larger archive members are copied to a temporary file


def open_recording(utterance: Utterance, *, allow_pipes: bool = False) -> Source:
    """The recording that holds the utterance, header checked. Raises AudioError; commands run only if allowed."""
    if utterance.pipe:
        if not allow_pipes:
            raise AudioError("pipe-refused", f"{utterance.audio!r} is a command; add --allow-pipes to run commands")
        return Source(utterance.audio, pipes.run(utterance.audio), streamed=True)
    member = split_member(utterance.audio)
    return Source(utterance.audio, read_member(*member)) if member else Source(utterance.audio)


def split_member(entry: str) -> tuple[str, int] | None:
    """Archive and byte offset of `path:offset`, Kaldi's way to name a member; None where a file has that very name."""
    match = _MEMBER.match(entry)
    if match is None or path_exists(entry):
        return None
    return match[1], int(match[2])


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
