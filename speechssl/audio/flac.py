"""FLAC (RFC 9639): the stream information block, whose MD5 is over the decoded audio."""

import hashlib
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from speechssl.audio.fields import Damage, Facts, read_exactly


def check(file: BinaryIO, start: int, size: int) -> Facts:
    """The header of a FLAC file that begins at `start`. Raises Damage."""
    head = read_exactly(file, start, 42, "stream information")
    if head[4] & 0x7F != 0 or int.from_bytes(head[5:8]) != 34:
        raise Damage("bad-header", "the first FLAC block is not the stream information")
    packed = int.from_bytes(head[18:26])
    num_frames = packed & (1 << 36) - 1
    if num_frames > max(1, size // 10) * 65_535:
        raise Damage("bad-header", f"the header claims {num_frames} frames, more than {size} bytes can hold")
    md5 = head[26:42]
    return Facts(unknown_length=num_frames == 0, md5=md5 if any(md5) else None)


_WIDTHS = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}  # bytes per sample
HASHED = frozenset(_WIDTHS)  # subtypes that Md5Reader takes


class Md5Reader:
    """Reads float32 blocks [n, channels] and hashes the integers they stand for, as the header's MD5 does."""

    def __init__(self, sound: soundfile.SoundFile) -> None:
        self._sound = sound
        self._width = _WIDTHS[sound.subtype]
        self._digest = hashlib.md5(usedforsecurity=False)

    def read(self, num_frames: int) -> NDArray[np.float32]:
        """The next block; its values are those that libsndfile gives as float32."""
        kind = "int16" if self._width == 2 else "int32"  # the sample is in the upper bits
        integers = self._sound.read(num_frames, dtype=kind, always_2d=True)
        if self._width == 2:
            self._digest.update(np.ascontiguousarray(integers, dtype="<i2").data)
        else:
            upper = np.ascontiguousarray(integers, dtype="<i4").view(np.uint8).reshape(-1, 4)[:, 4 - self._width :]
            self._digest.update(upper.tobytes())
        full_scale = -float(np.iinfo(integers.dtype).min)
        return integers.astype(np.float32) * np.float32(1 / full_scale)

    def matches(self, md5: bytes) -> bool:
        """Whether what was read so far is what the header's MD5 was computed from."""
        return self._digest.digest() == md5
