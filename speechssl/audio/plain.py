"""Containers with one flat header: Sun/NeXT AU, NIST SPHERE, Creative VOC."""

import struct
from typing import BinaryIO

from speechssl.audio.fields import Damage, Facts, read_at, read_exactly

_KILLED = "the header says 0 bytes of audio, but more follow: its writer was killed"
_VOC_FORMATS = {1: 2, 9: 12}  # types of block that hold samples, and the bytes before these


def check_au(file: BinaryIO, size: int) -> Facts:
    """AU: data offset and data size follow the magic. Raises Damage."""
    head = read_exactly(file, 0, 24, "header")
    start, length = struct.unpack("<II" if head[:4] == b"dns." else ">II", head[4:12])
    if length == 0xFFFFFFFF:
        return Facts(unknown_length=True)
    if length == 0 and size > start:
        raise Damage("truncated", _KILLED)
    return _compare(start + length, size)


def check_sphere(file: BinaryIO, size: int) -> Facts:
    """NIST SPHERE with plain samples: count x channels x bytes. Raises Damage."""
    head = read_at(file, 0, 16)
    length = head[8:16].strip()
    if not length.isdigit() or not 16 <= int(length) <= 1 << 20:
        raise Damage("bad-header", f"a SPHERE header of {length!r} bytes")
    fields: dict[bytes, bytes] = {}
    for line in read_exactly(file, 0, int(length), "header").split(b"\n"):
        words = line.split(None, 2)
        if len(words) == 3:
            fields[words[0]] = words[2].strip()
    if fields.get(b"sample_coding", b"pcm").lower() not in (b"pcm", b"ulaw", b"mu-law", b"alaw"):
        coding = fields[b"sample_coding"].decode("ascii", "replace")
        raise Damage("unsupported", f"SPHERE with {coding} coding; convert it with sph2pipe")
    try:
        count, width = int(fields[b"sample_count"]), int(fields[b"sample_n_bytes"])
        if count == 0 and size > int(length):
            raise Damage("truncated", _KILLED)
        return _compare(int(length) + count * width * int(fields.get(b"channel_count", b"1")), size)
    except (KeyError, ValueError):
        raise Damage("bad-header", "SPHERE header without sample_count and sample_n_bytes") from None


def check_voc(file: BinaryIO, size: int) -> Facts:
    """VOC: blocks of a type byte and a 24-bit size, ended by a zero byte (which may be absent). Raises Damage."""
    position = struct.unpack("<H", read_exactly(file, 20, 2, "header"))[0]
    while position < size:
        block = read_at(file, position, 4)
        if block[0] == 0:
            return Facts()
        if len(block) < 4:
            break
        length = int.from_bytes(block[1:], "little")
        if length == _VOC_FORMATS.get(block[0]) and size > position + 4 + length + 1:
            raise Damage("truncated", _KILLED)
        position += 4 + length
    return _compare(position, size)


def _compare(stated: int, size: int) -> Facts:
    if stated > size:
        raise Damage("truncated", f"the header announces {stated} bytes, the file holds {size}")
    return Facts(
        notes=[f"{size - stated} bytes after the end of the audio were passed over"] if size - stated > 8 else []
    )
