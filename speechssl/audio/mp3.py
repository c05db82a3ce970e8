"""MPEG audio layers I-III (MP3): a chain of frames, each of which states its length, and perhaps an Info tag.

There are no checksums in general: flipped bits inside a frame are not seen, nor is an end missing exactly at a frame
boundary where no Info (Xing) tag states the number of frames. Bytes between frames are damage where the tag says that
nothing was added to the file; else they may be foreign data, and are noted.
"""

import re
import struct
from typing import BinaryIO, NamedTuple

from speechssl.audio.fields import Damage, Facts, read_at

_KBITS = {  # by (MPEG version 1?, layer), index 1..14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits
_MAX_GAP = 1 << 16  # between frames; decoders give up before
_MAYBE_HEADER = re.compile(  # what frame_length takes: a version, a layer, a bit rate and a sample rate that exist
    rb"(?s)\xff[%b][%b]." % tuple(
        b"".join(re.escape(bytes([byte])) for byte in range(256) if fits(byte)) for fits in (
            lambda byte: byte >= 0xE0 and byte >> 3 & 3 != 1 and byte >> 1 & 3 != 0,
            lambda byte: byte >> 4 not in (0, 15) and byte >> 2 & 3 != 3,
        )
    )
)  # fmt: skip
_TAGS = (b"TAG", b"APETAGEX", b"LYRICS", b"3DI", b"ID3")  # what may follow the last frame


def after_id3(file: BinaryIO) -> int:
    """Where the audio begins: behind an ID3v2 tag, if there is one (also in front of FLAC)."""
    head = read_at(file, 0, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


def is_frame(head: bytes) -> bool:
    """Whether these bytes begin with a frame header."""
    return frame_length(head) > 0


def frame_length(head: bytes) -> int:
    """Bytes of the frame that begins with these at least 4 bytes; 0 where there is no frame header."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, kbit_index, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate_index == 3 or kbit_index in (0, 15):
        return 0
    bits, rate = _KBITS[version == 3, layer][kbit_index - 1] * 1000, _RATES[version][rate_index]
    if layer == 1:
        return (12 * bits // rate + padding) * 4
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bits // rate + padding


def check(file: BinaryIO, start: int, size: int) -> Facts:
    """The Info tag's byte count against the file. Raises Damage."""
    first = read_at(file, start, 2048)
    tag = _tag(first)
    if tag is None and _tag_never_written(first):
        raise Damage("truncated", "the place of its Info tag is empty: its writer was killed")
    if tag and start + tag.num_bytes > size + 16:
        raise Damage("truncated", f"the Info tag announces {tag.num_bytes} bytes, the file holds {size - start}")
    notes = [] if tag else ["MP3 without Info tag: a missing end cannot be seen"]
    if tag and is_frame(read_at(file, start + tag.num_bytes, 4)):
        notes.append("MP3 frames go on after those that the Info tag counts; they may not be decoded")
    if not _tag_crc_holds(first):
        notes.append("the Info tag does not match its checksum")
    return Facts(notes=notes)


def verify_frames(file: BinaryIO, size: int) -> list[str]:
    """Walk the chain of frames. Raises Damage where the last is cut, or frames are missing from the middle.

    Returns notes on foreign data between frames.
    """
    start = position = after_id3(file)
    tag = _tag(read_at(file, start, 2048))
    end = start + tag.num_bytes if tag else size
    num_frames = num_lost = 0
    while position < min(end + num_lost, size):
        head = read_at(file, position, 8)
        length = frame_length(head)
        if length and position + length > size:
            raise Damage("truncated", f"the last MP3 frame has {length} bytes, {size - position} are there")
        if length:
            num_frames += 1
        elif head.startswith(_TAGS) or not head.strip(b"\0"):
            break
        else:
            length = _next_frame(file, position + 1, size) - position
            num_lost += length
        position += length
    if num_lost and tag and (position == end or num_frames - 1 < tag.num_frames):
        raise Damage("corrupt", f"{num_lost} bytes where the chain of MP3 frames should go on are no frames")
    notes = [f"{num_lost} bytes between MP3 frames are no audio: damaged or foreign data"] if num_lost else []
    rest = read_at(file, position, 64)
    if rest.strip(b"\0") and not rest.startswith(_TAGS) and not is_frame(rest):  # of frames there, `check` says it
        notes.append(f"{size - position} bytes after the end of the audio were passed over")
    return notes


class _Tag(NamedTuple):
    num_frames: int  # without the frame that holds the tag
    num_bytes: int


def _tag(frame: bytes) -> _Tag | None:
    """What an Info/Xing tag in the first frame counts; None where there is none that states both."""
    for magic in (b"Xing", b"Info"):
        position = frame.find(magic, 4, 60)
        if position >= 0 and len(frame) >= position + 16 and frame[position + 7] & 3 == 3:
            return _Tag(*struct.unpack(">II", frame[position + 8 : position + 16]))
    return None


def _tag_never_written(frames: bytes) -> bool:
    """LAME leaves a frame of zeros at the start, and writes the tag there when it is done."""
    length = frame_length(frames)
    second = frames[length + 4 : length + frame_length(frames[length:])]
    return length > 4 and any(second) and not any(frames[4:length])


def _tag_crc_holds(frame: bytes) -> bool:
    """LAME's tag ends with a CRC-16 of the frame so far; true where there is none."""
    magic = max(frame.find(b"Xing", 4, 60), frame.find(b"Info", 4, 60))
    if magic < 0 or not frame[magic + 120 : magic + 124].isalpha() or frame[magic + 7] != 15:
        return True
    stated = int.from_bytes(frame[magic + 154 : magic + 156])
    crc = 0
    for byte in frame[: magic + 154]:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return stated in (0, crc)


def _next_frame(file: BinaryIO, position: int, size: int) -> int:
    """The next place where two frames follow each other (or one that ends the file). Raises Damage where it is far."""
    window = read_at(file, position, _MAX_GAP)
    for match in _MAYBE_HEADER.finditer(window):
        behind = position + match.start() + frame_length(match[0])
        if behind == size or is_frame(read_at(file, behind, 4)):
            return position + match.start()
    if position + len(window) < size:
        raise Damage("corrupt", f"no MP3 frame in the {len(window)} bytes from byte {position}")
    return size
