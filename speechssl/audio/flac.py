"""FLAC (RFC 9639): the stream information block, whose MD5 is over the decoded audio."""

import hashlib
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from speechssl.audio.fields import Damage, Facts, read_at, read_exactly


def check(file: BinaryIO, start: int, size: int) -> Facts:
    """The header of a FLAC file that begins at `start`. Raises Damage."""
    head = read_exactly(file, start, 42, "stream information")
    if head[4] & 0x7F != 0 or int.from_bytes(head[5:8]) != 34:
        raise Damage("bad-header", "the first FLAC block is not the stream information")
    packed = int.from_bytes(head[18:26])
    _check_rate(file, start, packed >> 44)
    num_frames = packed & (1 << 36) - 1
    if num_frames > max(1, size // 10) * 65_535:
        raise Damage("bad-header", f"the header claims {num_frames} frames, more than {size} bytes can hold")
    md5 = head[26:42]
    return Facts(unknown_length=num_frames == 0, md5=md5 if any(md5) else None)


_RATES = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)  # Hz, by code; 0: not said


def _check_rate(file: BinaryIO, start: int, rate: int) -> None:
    """The rate is in every frame, too, behind a checksum; the MD5 does not cover it, and decoders do not compare."""
    position, last = start + 4, False
    while not last:  # blocks of metadata
        block = read_exactly(file, position, 4, "metadata")
        last, position = block[0] >= 0x80, position + 4 + int.from_bytes(block[1:])
    frame = read_at(file, position, 16)
    if len(frame) < 16 or frame[0] != 0xFF or frame[1] & 0xFE != 0xF8:
        return  # the decoder will say more of it
    size_code, rate_code = frame[2] >> 4, frame[2] & 15
    number = 1 if frame[4] < 0x80 else 8 - (frame[4] ^ 0xFF).bit_length()  # bytes of the frame's number, as in UTF-8
    at = 4 + number + {6: 1, 7: 2}.get(size_code, 0)
    stated = {12: frame[at] * 1000, 13: int.from_bytes(frame[at : at + 2]), 14: int.from_bytes(frame[at : at + 2]) * 10}
    of_frame = stated.get(rate_code) or (_RATES[rate_code] if rate_code < len(_RATES) else 0)
    if of_frame and of_frame != rate:
        raise Damage("bad-header", f"the stream information says {rate} Hz, the first frame {of_frame} Hz")


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
