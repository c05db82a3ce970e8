"""What a container's header says of the file's own size: the part that audio libraries do not check.

Every common library reads a WAV that was cut in half without a word. Here the header is compared with the file before
libsndfile sees it. Containers that are not known here are left to libsndfile alone, and the notes say so.
"""

from dataclasses import dataclass, field
from typing import BinaryIO

from speechssl.audio import chunks, flac, mp3, ogg, plain
from speechssl.audio.fields import Damage, Facts, read_at
from speechssl.errors import AudioError

_LINEAR_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8,
                 "ULAW": 1, "ALAW": 1}  # fmt: skip
_MOST_SAMPLES_PER_BYTE = 65_535 // 10 * 8  # a FLAC frame of 65,535 equal samples takes at least 10 bytes; 8 channels


@dataclass
class Header:
    """Facts found before decoding."""

    size: int  # bytes of the file
    container: str = ""  # "RIFF", "fLaC", "OggS", "MPEG" ...; "" = not one that is known here
    unknown_length: bool = False  # the header leaves the length open (written to a pipe)
    md5: bytes | None = None  # FLAC: of the decoded audio
    notes: list[str] = field(default_factory=list)

    def max_samples(self, subtype: str) -> int:
        """The most samples (all channels) that a file of this size can hold in this coding."""
        linear = None if self.container in ("fLaC", "OggS") else _LINEAR_BYTES.get(subtype)
        return self.size // linear if linear else self.size * _MOST_SAMPLES_PER_BYTE


def inspect(file: BinaryIO, name: str, *, streamed: bool) -> Header:
    """Check the header of an open file against its size. Raises AudioError (empty, truncated, bad-header, corrupt).

    `streamed`: the bytes came out of a pipe, so a header that does not state a length is normal.
    """
    try:
        size = file.seek(0, 2)
        if size == 0:
            raise AudioError("empty", f"{name}: 0 bytes")
        container, facts = _dispatch(file, size)
    except Damage as damage:
        raise AudioError(damage.code, f"{name}: {damage}") from None
    except OSError as error:
        raise AudioError("unreadable", f"{name}: {error.strerror}") from None
    if facts.unknown_length and container == "fLaC" and not streamed:
        message = "the header states no length: its writer was killed, or it was written to a pipe; encode it again"
        raise AudioError("truncated", f"{name}: {message}")
    if facts.unknown_length and not streamed:
        facts.notes.append("the header states no length (written to a pipe): read to the end of the file")
    return Header(size, container, facts.unknown_length, facts.md5, facts.notes)


def verify_whole(file: BinaryIO, header: Header, name: str) -> list[str]:
    """Check the whole file as far as its container allows without decoding, for a file that will be read whole.

    Returns notes. Raises AudioError (truncated, corrupt).
    """
    check = {"OggS": ogg.verify_pages, "MPEG": mp3.verify_frames}.get(header.container)
    try:
        return check(file, header.size) if check else []
    except Damage as damage:
        raise AudioError(damage.code, f"{name}: {damage}") from None
    except OSError as error:
        raise AudioError("unreadable", f"{name}: {error.strerror}") from None


def _dispatch(file: BinaryIO, size: int) -> tuple[str, Facts]:
    start = mp3.after_id3(file)
    magic = read_at(file, start, 16)
    match magic[:4]:
        case b"RIFF" | b"RIFX" | b"RF64" | b"FORM":
            return magic[:4].decode(), chunks.check_iff(file, size)
        case b"riff":
            return "riff", chunks.check_w64(file, size)
        case b"caff":
            return "caff", chunks.check_caf(file, size)
        case b"fLaC":
            return "fLaC", flac.check(file, start, size)
        case b"OggS":
            return "OggS", ogg.check(file, size)
        case b".snd" | b"dns.":
            return "snd", plain.check_au(file, size)
        case b"NIST":
            return "NIST", plain.check_sphere(file, size)
        case b"Crea":
            return "VOC", plain.check_voc(file, size)
    if mp3.is_frame(magic):
        return "MPEG", mp3.check(file, start, size)
    if start:
        return "", Facts()
    return "", Facts(notes=["container without known length fields: a missing end cannot be seen"])
