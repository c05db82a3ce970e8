"""Recordings that were damaged: cut, never finished, with headers that lie, with flipped bits.

What can be seen: a missing end and an unfinished file in every container; any flipped bit in FLAC and Ogg, which hold
checksums; one in the header of WAV and its like, which state most things twice. What nobody can see: a flipped bit in
the samples of the latter or inside an MP3 frame, and another sample rate in AIFF, CAF, AU and SPHERE, which state it
once (an unusual one is noted). Those cases are a group of their own, in which both outcomes are right.
"""

import io
import struct
from collections.abc import Iterator

import numpy as np
import soundfile

from tests.battery.odd_audio import CONTAINERS, OK, RATE, SOUND, Case, encoded

CHECKSUMS = ("flac", "vorbis", "opus")
STATED_ONCE = ("aiff", "caf", "au", "sphere")  # rate, channels and the like: any value may be right
UNDETECTABLE = "flipped bits that nothing shows"
_DAMAGED = frozenset(["truncated", "corrupt", "bad-header", "unsupported", "empty", "non-finite"])
_HEADER_BYTES = {
    "wav": 44,
    "w64": 104,
    "rf64": 80,
    "aiff": 54,
    "au": 24,
    "sphere": 200,
    "ima": 60,
    "mp3": 36,
    "caf": 68,
}


def cases(num_flips: int) -> Iterator[Case]:
    """All of them; `num_flips` bits flipped in each container, half of them in the header."""
    for name in CONTAINERS:
        yield from _cut(name)
        yield from _never_finished(name)
        yield from _flipped(name, num_flips)
    yield from _headers()


def _sound(name: str) -> bytes:
    return encoded(SOUND, *CONTAINERS[name][:2])


def _cut(name: str) -> Iterator[Case]:
    """Without an end, as by a full disk or a broken download."""
    data = _sound(name)
    for what, size in {"1 byte": len(data) - 1, "1 KB": len(data) - 1024, "a tenth": len(data) * 9 // 10,
                       "half": len(data) // 2, "nearly all": max(200, len(data) // 20)}.items():  # fmt: skip
        codes = ["truncated", "bad-header"] if what == "nearly all" else ["truncated"]
        yield Case(f"{name} without {what}", "end missing", data[:size], frozenset(codes))


def _never_finished(name: str) -> Iterator[Case]:
    """What is there when the program that writes it is killed."""
    buffer = io.BytesIO()
    kind, subtype, _ = CONTAINERS[name]
    with soundfile.SoundFile(buffer, "w", RATE, 1, format=kind, subtype=subtype) as file:
        for _ in range(6):
            file.write(SOUND)
        data = buffer.getvalue()
    assert len(data) > 1000
    yield Case(f"{name} of a killed writer", "never finished", data, frozenset(["truncated", "bad-header", "empty"]))


def _flipped(name: str, count: int) -> Iterator[Case]:
    """One bit each. `same_as` the sound file: where it is used all the same, no sample may be different."""
    data, random = _sound(name), np.random.default_rng(0)
    header = _HEADER_BYTES.get(name, 200)
    for number in range(count):
        in_header = number % 2 == 0
        position = int(random.integers(header)) if in_header else int(random.integers(header, len(data)))
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(random.integers(8))
        label, content = f"{name} flip {number} at {position}", bytes(damaged)
        if name in CHECKSUMS or (in_header and name not in STATED_ONCE):
            where = "header" if in_header else "audio"
            yield Case(label, f"flipped bits in the {where}", content, _DAMAGED | OK, same_as=name)
        else:
            yield Case(label, UNDETECTABLE, content, _DAMAGED | OK)


def _headers() -> Iterator[Case]:
    """Headers that claim what cannot be."""

    def patched(name: str, *fields: tuple[int, str, object]) -> bytes:
        data = bytearray(_sound(name))
        for offset, layout, value in fields:
            struct.pack_into(layout, data, offset, value)
        return bytes(data)

    def flac(num_frames: int) -> bytes:
        data = bytearray(_sound("flac"))
        data[18:26] = (int.from_bytes(data[18:26]) >> 36 << 36 | num_frames).to_bytes(8)
        return bytes(data)

    def rate(hz: int) -> bytes:
        return patched("wav", (24, "<I", hz), (28, "<I", hz * 2 & 0xFFFFFFFF))

    w64 = _sound("w64").index(b"data") + 16
    caf = _sound("caf").index(b"data") + 4
    many = 2 << 36  # bytes of 2^36 frames
    chunks = b"RIFF\xff\xff\xff\x7fWAVE" + b"LIST\0\0\0\0" * 200_000
    for name, content, codes in (
        ("1 Hz", rate(1), "bad-header"), ("0 Hz", rate(0), "bad-header"), ("2^31 Hz", rate(1 << 31), "bad-header"),
        ("1 Hz in aiff", patched("aiff", (28, ">H", 0x3FFF), (30, ">H", 0x8000)), "bad-header"),
        ("1 Hz in au", patched("au", (16, ">I", 1)), "bad-header"),
        ("0 channels", patched("wav", (22, "<H", 0)), "bad-header"),
        ("65535 channels", patched("wav", (22, "<H", 0xFFFF)), "bad-header"),
        ("0 bits", patched("wav", (34, "<H", 0)), "bad-header"),
        ("data size 0", patched("wav", (40, "<I", 0)), "truncated"),
        ("riff and data size 0", patched("wav", (4, "<I", 0), (40, "<I", 0)), "truncated"),
        ("data of 2 GB", patched("wav", (40, "<I", 0x7FFFFFFE)), "truncated"),
        ("data of 4 GB", patched("wav", (40, "<I", 0xFFFFFFFF)), "truncated"),
        ("data size too small", patched("wav", (40, "<I", 1000)), "bad-header"),
        ("2^36 frames in rf64", _rf64(many), "truncated bad-header"),
        ("2^36 frames in w64", patched("w64", (w64, "<Q", many)), "truncated"),
        ("2^63 bytes in w64", patched("w64", (w64, "<Q", (1 << 63) - 1)), "truncated"),
        ("2^36 frames in caf", patched("caf", (caf, ">q", many)), "truncated"),
        ("2^32 frames in aiff", patched("aiff", (22, ">I", 0xFFFFFFFF)), "bad-header"),
        ("2^36 frames in flac", flac((1 << 36) - 1), "bad-header"),
        ("no length in flac", flac(0), "truncated"),  # libsndfile says 2^63 - 1 frames
        ("a frame too many in flac", flac(len(SOUND) + 1), "truncated"),
        ("a frame too few in flac", flac(len(SOUND) - 1), "corrupt"),
        ("wrong md5 in flac", patched("flac", (26, "16s", b"0" * 16)), "corrupt"),
        ("sphere of 2^36 frames", _sound("sphere").replace(b"-i 16000\nend", b"-i 68719476736\nend"), "truncated"),
        ("200,000 chunks", chunks, "truncated bad-header"), ("chunks without end", chunks[:-4], "truncated bad-header"),
        ("mp3 in 4 MB of junk", _mp3_with(b"\xff\xfb" * (2 << 20)), "corrupt"),  # once took minutes
        ("a 256 MB id3 tag", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + _sound("mp3"), "unsupported truncated"),
        ("two ogg streams", _sound("vorbis") + _sound("opus"), "unsupported"),
        ("ogg without its beginning", _sound("vorbis")[58:], "truncated"),
    ):  # fmt: skip
        yield Case(f"header: {name}", "headers", content, frozenset(codes.split()))


def _rf64(num_bytes: int) -> bytes:
    """A header with 64-bit sizes in front of the samples of a WAV."""
    fmt_and_data = _sound("wav")[12:40] + b"\xff\xff\xff\xff" + _sound("wav")[44:]
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, num_bytes + 100, num_bytes, num_bytes // 2, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt_and_data


def _mp3_with(junk: bytes) -> bytes:
    data = _sound("mp3")
    return data[: len(data) // 2] + junk + data[len(data) // 2 :]
