"""Opening a recording safely: regular files only, header checked against the file before anything is decoded."""

import errno
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import soundfile

from speechssl.audio.containers import Header, inspect, verify_whole
from speechssl.errors import AudioError

REASONS = (
    "missing", "not-a-file", "unreadable", "empty", "truncated", "corrupt", "non-finite", "bad-header", "bad-segment",
    "too-long", "unsupported", "pipe-refused", "pipe-failed",
    "remote-refused", "remote-failed", "too-short",
)  # fmt: skip
MIN_RATE, MAX_RATE = 4_000, 192_000  # Hz
_UNKNOWN_LENGTH = 2**62  # libsndfile reports 2^63 - 1 frames where the header does not say


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says. `num_frames` counts samples per channel; -1 where the header does not say."""

    sample_rate: int
    channels: int
    num_frames: int
    format: str  # libsndfile's names: "WAV", "FLAC", "OGG", "MP3" ...
    subtype: str  # "PCM_16", "OPUS", "FLOAT" ...

    @property
    def duration_s(self) -> float:
        """Seconds, by the header; negative where the header does not say."""
        return self.num_frames / self.sample_rate


def probe(path: str | Path) -> AudioInfo:
    """Header of a recording, checked against the size of the file; nothing is decoded. Raises AudioError."""
    with Source(path) as source:
        return source.info


class Sound(soundfile.SoundFile):
    """A SoundFile that is read straight on.

    The plain one seeks after every read, to where it is already; in MP3 that loses the decoder's state, and the audio
    is broken at every block (by 0.37 of full scale in our test; libsndfile 1.2.2).
    """

    def seekable(self) -> bool:
        """Says no, so that reading does not seek; `seek` works where `can_seek` is true."""
        return False

    def can_seek(self) -> bool:
        """Whether the format allows it."""
        return bool(super().seekable())


class Source:
    """An open recording: `info`, `header` (facts and notes of the checks) and `sound` (a soundfile.SoundFile).

    `path` names it in messages; `data` are its bytes, or an open file of them, where it is not a file of its own (an
    archive member, the output of a command). `streamed` says that a header without length is normal.
    """

    def __init__(self, path: str | Path, data: bytes | BinaryIO | None = None, *, streamed: bool = False) -> None:
        self.name = str(path)
        self._file = open_regular(path) if data is None else io.BytesIO(data) if isinstance(data, bytes) else data
        try:
            self.header: Header = inspect(self._file, self.name, streamed=streamed)
            self.sound = self._open_sound()
            try:
                self.info = self._check_info()
            except AudioError:
                self.sound.close()
                raise
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self.sound.close()
        self._file.close()

    def verify_whole(self) -> list[str]:
        """Checks over all bytes, for a file that will be read whole; returns notes. Raises AudioError."""
        position = self._position()
        notes = verify_whole(self._file, self.header, self.name)
        self._seek(position)  # the decoder reads through the same file and must find it as it was
        return notes

    def at_end(self) -> bool:
        """Whether the decoder has taken all bytes."""
        return self._position() >= self.header.size

    def _position(self) -> int:
        in_memory = isinstance(self._file, io.BytesIO)
        return self._file.tell() if in_memory else os.lseek(self._file.fileno(), 0, os.SEEK_CUR)

    def _seek(self, position: int) -> None:
        """Also of the file descriptor, which the buffered file's own seek may leave where it was."""
        self._file.seek(position)
        if not isinstance(self._file, io.BytesIO):
            os.lseek(self._file.fileno(), position, os.SEEK_SET)

    def _open_sound(self) -> Sound:
        self._seek(0)
        try:
            if isinstance(self._file, io.BytesIO):
                return Sound(self._file)
            return Sound(self._file.fileno(), closefd=False)
        except soundfile.LibsndfileError as error:
            unknown_to_all = self.header.container == "" and error.code in (1, 3)
            code = "unsupported" if unknown_to_all or error.code == 4 else "bad-header"
            raise AudioError(code, f"{self.name}: {error.error_string}") from None
        except (TypeError, OverflowError) as error:  # headerless formats that libsndfile will not open by itself
            raise AudioError("unsupported", f"{self.name}: {error}") from None

    def _check_info(self) -> AudioInfo:
        sound = self.sound
        frames = -1 if sound.frames >= _UNKNOWN_LENGTH else sound.frames
        if self.header.unknown_length:
            frames = -1
        info = AudioInfo(sound.samplerate, sound.channels, frames, sound.format, sound.subtype)
        if not MIN_RATE <= info.sample_rate <= MAX_RATE:
            message = f"sample rate {info.sample_rate} Hz is outside {MIN_RATE}..{MAX_RATE} Hz"
            raise AudioError("bad-header", f"{self.name}: {message}")
        if info.num_frames == 0:
            raise AudioError("empty", f"{self.name}: no samples")
        if info.num_frames * info.channels > self.header.max_samples(info.subtype):
            message = f"header claims {info.num_frames} frames, more than {self.header.size} bytes can hold"
            raise AudioError("bad-header", f"{self.name}: {message}")
        return info


def open_regular(path: str | Path) -> BinaryIO:
    """A regular file opened for reading; anything else is refused without waiting for it. Raises AudioError."""
    handle = -1
    try:
        is_regular = stat.S_ISREG(Path(path).stat().st_mode)
        if is_regular:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            is_regular = stat.S_ISREG(os.fstat(handle).st_mode)  # it may have been replaced between the two calls
    except (OSError, ValueError) as error:
        raise AudioError(_code_of(error), f"{path}: {_reason_of(error)}") from None
    if not is_regular:
        if handle >= 0:
            os.close(handle)
        raise AudioError("not-a-file", f"{path}: not a regular file")
    return os.fdopen(handle, "rb")


def _code_of(error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):  # a NUL or an unencodable character in the name
        return "missing"
    by_errno = {errno.ENOENT: "missing", errno.ENOTDIR: "missing", errno.ENAMETOOLONG: "missing"}
    return "not-a-file" if error.errno in (errno.ELOOP, errno.ENXIO) else by_errno.get(error.errno or 0, "unreadable")


def _reason_of(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
