"""Chunked containers: RIFF/RIFX WAV, RF64, AIFF/AIFC and 8SVX (FORM), Sony Wave64, Apple CAF.

Each chunk states its size; the audio chunk must fit in the file, and what follows it must again be chunks.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from speechssl.audio.fields import Damage, Facts, read_at, read_exactly

_MAX_CHUNKS = 10_000
_AUDIO_CHUNKS = (b"data", b"SSND", b"BODY")
_OPEN_SIZES = (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000)  # ffmpeg, and two of sox: "I cannot seek back to say"
_LINEAR_TAGS = {1: None, 3: None, 6: 8, 7: 8}  # WAVE format tags with fixed sample size (mu-law, A-law: 8 bits)
_ADPCM_TAGS = (2, 0x11)  # Microsoft's and IMA's: samples per block follow
_W64_DATA = b"data" + bytes.fromhex("f3acd3118cd100c04f8edb8a")


@dataclass
class _AudioChunk:
    start: int  # of its content
    size: int  # as stated


def check_iff(file: BinaryIO, size: int) -> Facts:
    """RIFF, RIFX, RF64 and FORM files. Raises Damage."""
    head = read_exactly(file, 0, 12, "header")
    order = ">" if head[:4] in (b"FORM", b"RIFX") else "<"
    stated = struct.unpack(order + "I", head[4:8])[0] + 8
    facts, audio, position, data64, comm = Facts(), None, 12, None, b""
    block = 1  # bytes per frame
    for _ in range(_MAX_CHUNKS):
        raw = read_at(file, position, 8)
        if len(raw) < 8:
            break
        kind, length = raw[:4], struct.unpack(order + "I", raw[4:])[0]
        if audio and not _looks_like_chunk(kind):
            _judge_rest(file, position, size, stated, facts)
            break
        if kind == b"ds64":
            stated, data64 = struct.unpack("<QQ", read_exactly(file, position + 8, 16, "ds64 chunk"))
            stated += 8
        elif kind == b"fmt ":
            block = _check_fmt(read_exactly(file, position + 8, min(length, 40), "fmt chunk"), order)
        elif kind == b"COMM":
            comm = read_at(file, position + 8, min(length, 22))
        elif kind in _AUDIO_CHUNKS and audio is None:
            length = data64 if data64 is not None and length == 0xFFFFFFFF else length
            audio = _AudioChunk(position + 8, length)
            if _is_open(length, stated, size, position + 8):
                facts.unknown_length = True
                return facts
            _check_audio(audio, size)
            if kind == b"data" and length % block:
                facts.notes.append("the audio chunk does not end with a whole sample")
        position += 8 + length + length % 2
    if audio is None:
        code = "truncated" if position > size or stated > size else "bad-header"
        raise Damage(code, "no audio chunk in the file")
    if head[8:12] == b"AIFF" or comm[18:22] in (b"NONE", b"sowt", b"twos"):
        _check_comm(comm, read_at(file, audio.start, 8), audio.size)
    if stated > size + 8:
        facts.notes.append(f"the file ends {stated - size} bytes before its header says; the audio is complete")
    return facts


def check_w64(file: BinaryIO, size: int) -> Facts:
    """Sony Wave64: 16-byte names, 64-bit sizes that count their own header, chunks at multiples of 8. Raises Damage."""
    position, facts, block = 40, Facts(), 1
    for _ in range(_MAX_CHUNKS):
        raw = read_exactly(file, position, 24, "chunk headers")
        length = struct.unpack("<Q", raw[16:])[0]
        if length < 24:
            raise Damage("bad-header", f"a chunk of {length} bytes")
        if raw[:4] == b"fmt ":
            block = _check_fmt(read_exactly(file, position + 24, min(length - 24, 40), "format chunk"), "<")
        if raw[:16] == _W64_DATA:
            _check_audio(_AudioChunk(position + 24, length - 24), size)
            if (length - 24) % block:
                facts.notes.append("the audio chunk does not end with a whole sample")
            return facts
        position += (length + 7) // 8 * 8
    raise Damage("bad-header", "no audio chunk in the file")


def check_caf(file: BinaryIO, size: int) -> Facts:
    """Apple Core Audio: 64-bit big-endian sizes; -1 for audio to the end of the file. Raises Damage."""
    position, facts = 8, None
    while position + 12 <= size:
        raw = read_exactly(file, position, 12, "chunk headers")
        length = struct.unpack(">q", raw[4:])[0]
        if raw[:4] == b"data":
            if length == -1:
                return Facts(unknown_length=True)
            _check_audio(_AudioChunk(position + 12, length), size)
            facts = Facts()
        if length < 0:
            raise Damage("bad-header", f"a chunk of {length} bytes")
        position += 12 + length
    if facts is None or position > size:
        raise Damage("truncated", "the file ends before its last chunk does")
    return facts


def _is_open(length: int, stated: int, size: int, start: int) -> bool:
    """Whether the sizes say "unknown". Raises Damage where they say zero and audio follows."""
    if length == 0 and start < size:
        raise Damage("truncated", "the header says 0 bytes of audio, but more follow: its writer was killed")
    return length in _OPEN_SIZES and length > size - start and (stated > size or stated == 8)


def _check_audio(audio: _AudioChunk, size: int) -> None:
    if audio.size == 0:
        raise Damage("empty", "no samples")
    there = size - audio.start
    if audio.size > there:
        raise Damage("truncated", f"the header announces {audio.size} bytes of audio, the file holds {max(0, there)}")


def _check_fmt(fmt: bytes, order: str) -> int:
    """The fields of a WAV format chunk against each other: they state the rate twice, and so a damaged one shows.

    Returns the bytes per frame, 1 where samples are compressed.
    """
    if len(fmt) < 16:
        raise Damage("bad-header", f"a format chunk of {len(fmt)} bytes")
    tag, channels, rate, byte_rate, block, bits = struct.unpack(order + "HHIIHH", fmt[:16])
    if tag == 0xFFFE and len(fmt) >= 26:
        tag = struct.unpack(order + "H", fmt[24:26])[0]
    if tag in _ADPCM_TAGS and len(fmt) >= 20:
        expected = rate * block / max(1, struct.unpack(order + "H", fmt[18:20])[0])  # writers round in several ways
        if abs(byte_rate - expected) > 0.05 * expected:
            raise Damage("bad-header", f"the format chunk contradicts itself: {rate} Hz, {byte_rate} bytes per second")
    if tag not in _LINEAR_TAGS:
        return 1
    width = (_LINEAR_TAGS[tag] or bits) + 7 >> 3
    if block != channels * width or byte_rate != rate * block:
        message = (
            f"the format chunk contradicts itself: {channels} channels of {bits} bits at {rate} Hz, "
            f"but {block} bytes per frame and {byte_rate} bytes per second"
        )
        raise Damage("bad-header", message)
    return max(1, block)


def _check_comm(comm: bytes, head: bytes, size: int) -> None:
    """AIFF's common chunk against its sound chunk, whose first 8 bytes are an offset and a block size."""
    if len(comm) < 8 or len(head) < 8:
        raise Damage("bad-header", "a common chunk is missing or too short")
    channels, num_frames, bits = struct.unpack(">hIh", comm[:8])
    needed = 8 + int.from_bytes(head[:4]) + num_frames * channels * ((bits + 7) // 8)
    if needed > size:
        raise Damage("bad-header", f"the header announces {needed} bytes of audio in a chunk of {size} bytes")


def _looks_like_chunk(kind: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in kind)


def _judge_rest(file: BinaryIO, position: int, size: int, stated: int, facts: Facts) -> None:
    """What follows the audio is no chunk: harmless where the header does not count it, else a size was damaged."""
    rest = read_at(file, position, 4096)
    if _looks_like_chunk(read_at(file, position - 1, 4)):  # an odd chunk without its padding byte
        return
    if position + 1 >= stated or not rest.strip(b"\0"):
        if size - position > 8:
            facts.notes.append(f"{size - position} bytes after the end of the audio were passed over")
        return
    raise Damage("bad-header", f"the audio chunk ends at byte {position}, but no chunk begins there")
