"""MPEG audio layers I-III (MP3): a chain of frames, each of which states its length, and perhaps an Info tag.

There are no checksums in general: flipped bits inside a frame are not seen, nor is an end missing exactly at a frame
boundary where no Info (Xing) tag states the number of frames.
"""

from typing import BinaryIO

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
    stated = _tagged_bytes(first)
    if stated is not None and start + stated > size + 16:
        raise Damage("truncated", f"the Info tag announces {stated} bytes, the file holds {size - start}")
    notes = [] if stated is not None else ["MP3 without Info tag: a missing end cannot be seen"]
    if stated is not None and is_frame(read_at(file, start + stated, 4)):
        notes.append("MP3 frames go on after those that the Info tag counts; they may not be decoded")
    if not _tag_crc_holds(first):
        notes.append("the Info tag does not match its checksum")
    return Facts(notes=notes)


def verify_frames(file: BinaryIO, size: int) -> list[str]:
    """Walk the chain of frames. Raises Damage where the last is cut; returns notes on breaks in the chain."""
    position, num_lost = after_id3(file), 0
    while position < size:
        head = read_at(file, position, 8)
        length = frame_length(head)
        if length and position + length > size:
            raise Damage("truncated", f"the last MP3 frame has {length} bytes, {size - position} are there")
        if not length and (head.startswith(_TAGS) or not head.strip(b"\0")):
            break
        if not length:
            resumed = _next_frame(file, position + 1, size)
            num_lost += resumed - position
            position = resumed
        else:
            position += length
    return [f"{num_lost} bytes between MP3 frames are no audio: damaged or foreign data"] if num_lost else []


def _tagged_bytes(frame: bytes) -> int | None:
    """Byte count of an Info/Xing tag in the first frame; None where there is none."""
    for magic in (b"Xing", b"Info"):
        position = frame.find(magic, 4, 60)
        if position >= 0 and frame[position + 7 : position + 8] and frame[position + 7] & 3 == 3:
            return int.from_bytes(frame[position + 12 : position + 16])
    return None


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
    """The next place where two frames follow each other (or one that ends the file)."""
    while position < size:
        window = read_at(file, position, 1 << 16)
        at = window.find(b"\xff")
        if at < 0:
            position += len(window)
            continue
        length = (
            frame_length(window[at : at + 4])
            if at + 4 <= len(window)
            else frame_length(read_at(file, position + at, 4))
        )
        behind = position + at + length
        if length and (behind == size or is_frame(read_at(file, behind, 4))):
            return position + at
        position += at + 1
    return size
