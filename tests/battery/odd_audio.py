"""Recordings that are odd but sound, too short, no audio, or no files: each with what must come of it."""

import io
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16000
FRAME = 400  # samples of the first frame: fewer give none
OK = frozenset(["ok"])
CONTAINERS = {  # name: format, subtype of libsndfile, file name's ending
    "wav": ("WAV", "PCM_16", "wav"), "w64": ("W64", "PCM_16", "w64"), "rf64": ("RF64", "PCM_16", "rf64"),
    "aiff": ("AIFF", "PCM_16", "aiff"), "caf": ("CAF", "PCM_16", "caf"), "au": ("AU", "PCM_16", "au"),
    "flac": ("FLAC", "PCM_16", "flac"), "vorbis": ("OGG", "VORBIS", "ogg"), "opus": ("OGG", "OPUS", "opus"),
    "mp3": ("MP3", "MPEG_LAYER_III", "mp3"), "ima": ("WAV", "IMA_ADPCM", "wav"), "sphere": ("NIST", "PCM_16", "sph"),
}  # fmt: skip
_OTHER_CODINGS = {
    "8 bits": ("WAV", "PCM_U8"), "24 bits": ("WAV", "PCM_24"), "32 bits": ("WAV", "PCM_32"),
    "float": ("WAV", "FLOAT"), "float64": ("WAV", "DOUBLE"), "ms adpcm": ("WAV", "MS_ADPCM"),
    "u-law": ("WAV", "ULAW"), "a-law": ("WAV", "ALAW"), "gsm": ("WAV", "GSM610"), "wavex": ("WAVEX", "PCM_16"),
    "flac of 24 bits": ("FLAC", "PCM_24"), "flac of 8 bits": ("FLAC", "PCM_S8"), "voc": ("VOC", "PCM_16"),
}  # fmt: skip
NAMES = (
    "with space.wav", "new\nline.wav", "tab\t.wav", "-dash.wav", "quote'\".wav", "ünï→🎤.wav", "x.wav.wav", "no suffix",
    "wrong.flac", "member.ark:17", "back\\slash.wav", "$(x) `y`.wav", "n" * 251 + ".wav",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A file to make, and the reason codes of which one must come: "ok" among them where it may be used.

    same_as: where it is used all the same, its units must be those of this case (nothing audible was damaged).
    """

    name: str
    group: str
    content: bytes | Callable[[Path], object]  # or what makes it at a path
    expect: frozenset[str]
    file: str = ""  # its name, where it matters
    same_as: str | None = None

    def make(self, folder: Path) -> str:
        """Make it; its path, relative to nothing (a str, since its name may be no Unicode)."""
        path = folder / (self.file or self.name.replace(" ", "_") + ".wav")
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return str(path)


def noise(num_samples: int, seed: int = 0, channels: int = 0) -> NDArray[np.float32]:
    """White noise in -0.5..0.5."""
    shape = (num_samples, channels) if channels else (num_samples,)
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def encoded(samples: NDArray[np.float32], kind: str = "WAV", subtype: str = "PCM_16", rate: int = RATE) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


SOUND = noise(RATE)  # in every container; what is damaged is this


def cases(minutes: int) -> Iterator[Case]:
    """All of them; the long ones last `minutes`."""
    yield from _lengths()
    yield from _values()
    yield from _codings()
    yield from _no_audio()
    yield from _no_files()
    yield from _names()
    yield from _long(minutes)


def _lengths() -> Iterator[Case]:
    for kind in ("wav", "flac"):
        for length in (0, 1, 2, 320, 399, 400, 401, 719, 720):
            code = "empty" if length == 0 else "too-short" if length < FRAME else "ok"
            yield Case(f"{length} samples {kind}", "lengths", encoded(SOUND[:length], *CONTAINERS[kind][:2]),
                       frozenset([code]))  # fmt: skip


def _values() -> Iterator[Case]:
    def put(value: float, subtype: str = "FLOAT") -> bytes:
        samples = SOUND.astype(np.float64)
        samples[len(samples) // 2] = value
        return encoded(samples if subtype == "DOUBLE" else samples.astype(np.float32), "WAV", subtype)  # type: ignore[arg-type]

    square = np.where(np.arange(RATE) // 40 % 2, 1.0, -1.0).astype(np.float32)
    small, click, bad = np.float32(1e-30), np.eye(1, RATE, dtype=np.float32)[0], np.float32(np.nan)
    for name, content, code in (
        ("nan", put(np.nan), "non-finite"), ("all nan", encoded(SOUND * bad, "WAV", "FLOAT"), "non-finite"),
        ("inf", put(np.inf), "non-finite"), ("minus inf", put(-np.inf), "non-finite"), ("1e30", put(1e30), "corrupt"),
        ("1e300 in float64", put(1e300, "DOUBLE"), "non-finite"), ("zeros", encoded(SOUND * 0), "ok"),
        ("nan in float64", put(np.nan, "DOUBLE"), "non-finite"), ("square", encoded(square), "ok"),
        ("square in float", encoded(square, "WAV", "FLOAT"), "ok"), ("constant", encoded(SOUND * 0 + 0.25), "ok"),
        ("of 32767", encoded(SOUND * 32767, "WAV", "FLOAT"), "ok"), ("one click", encoded(click), "ok"),
        ("1e-30", encoded(SOUND * small, "WAV", "FLOAT"), "ok"),
    ):  # fmt: skip
        yield Case(name, "values", content, frozenset([code]))


def _codings() -> Iterator[Case]:
    for name, (kind, subtype, ending) in CONTAINERS.items():
        yield Case(name, "codings", encoded(SOUND, kind, subtype), OK, f"sound_{name}.{ending}")
    for name, (kind, subtype) in _OTHER_CODINGS.items():
        yield Case(name, "codings", encoded(SOUND, kind, subtype), OK)
    for channels in (2, 8):
        yield Case(f"{channels} channels", "codings", encoded(noise(RATE, 1, channels)), OK)
        yield Case(f"flac of {channels} channels", "codings", encoded(noise(RATE, 1, channels), "FLAC"), OK)
    for rate in (8000, 22050, 44100, 48000, 96000):
        yield Case(f"{rate} Hz", "codings", encoded(noise(rate, 2), rate=rate), OK)
    yield Case("8 channels at 48 kHz in 24 bits", "codings", encoded(noise(48000, 2, 8), "FLAC", "PCM_24", 48000), OK)


def _no_audio() -> Iterator[Case]:
    header = encoded(SOUND)[:44]
    some = bytes(range(256)) * 9
    for name, content, codes in (
        ("text", b"this is no audio\n" * 100, "unsupported"), ("json", b'{"audio": "x.wav"}\n', "unsupported"),
        ("html", b"<!DOCTYPE html><html><body>404</body></html>" * 9, "unsupported"), ("no bytes", b"", "empty"),
        ("one byte", b"R", "unsupported"), ("four bytes", b"RIFF", "truncated"), ("43 bytes", header[:43], "truncated"),
        ("a header alone", header, "truncated"), ("zero bytes", bytes(5000), "unsupported"),
        ("gzip", b"\x1f\x8b\x08" + some, "unsupported"), ("zip", b"PK\3\4" + bytes(999), "unsupported"),
        ("random bytes", b"\0" + np.random.default_rng(0).bytes(20000), "unsupported"),
        ("a git lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "unsupported"),
    ):  # fmt: skip
        yield Case(name, "no audio", content, frozenset([codes]))


def _no_files() -> Iterator[Case]:
    def unreadable(path: Path) -> None:
        path.write_bytes(encoded(SOUND))
        path.chmod(0)

    def listening(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(path.parent)  # the address of a socket is short
            try:
                server.bind(path.name)
            finally:
                os.chdir(here)

    refused = frozenset(["not-a-file"])
    yield Case("a directory", "no files", lambda path: path.mkdir(), refused, "x.wav")
    yield Case("a FIFO", "no files", lambda path: os.mkfifo(path), refused)
    yield Case("a socket", "no files", listening, refused)
    for device in ("zero", "null", "random"):
        yield Case(f"a link to /dev/{device}", "no files", lambda path, to=device: path.symlink_to(f"/dev/{to}"),  # type: ignore[misc]
                   refused, f"{device}.wav")  # fmt: skip
    yield Case("a loop of links", "no files", lambda path: path.symlink_to(path.name), refused)
    yield Case("a link to nothing", "no files", lambda path: path.symlink_to("nothing"), frozenset(["missing"]))
    yield Case("missing", "no files", lambda path: None, frozenset(["missing"]))
    yield Case("below a file", "no files", lambda path: path.parent.write_bytes(b""), frozenset(["missing"]), "f/x.wav")
    code = "ok" if os.geteuid() == 0 else "unreadable"  # root reads everything
    yield Case("unreadable", "no files", unreadable, frozenset([code]))
    yield Case("a link to a file", "names", lambda path: path.symlink_to("sound_wav.wav"), OK, same_as="wav")


def _names() -> Iterator[Case]:
    sound = encoded(SOUND)
    for number, name in enumerate(NAMES):
        yield Case(f"name {number}", "names", sound, OK, name, "wav")
        if number < 9:
            yield Case(f"name {number} cut", "end missing", sound[:-9], frozenset(["truncated"]), "cut " + name)
    for number, name in enumerate((b"not \xff\xfe utf-8.wav", b"latin \xe9.wav")):
        yield Case(f"bytes {number}", "names", sound, OK, os.fsdecode(name), "wav")
        yield Case(
            f"bytes {number} cut", "end missing", sound[:-9], frozenset(["truncated"]), "cut" + os.fsdecode(name)
        )


def _long(minutes: int) -> Iterator[Case]:
    """Silence that takes little room, and speech-like noise, each longer than most."""

    def silence(path: Path) -> None:
        with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC", subtype="PCM_16") as file:
            for _ in range(minutes):
                file.write(np.zeros(60 * RATE, np.int16))

    def loud(path: Path) -> None:
        minute = (noise(60 * 8000) * 20000).astype(np.int16)
        with soundfile.SoundFile(path, "w", 8000, 1, format="WAV", subtype="ULAW") as file:
            for _ in range(minutes * 3 // 2):
                file.write(minute)

    yield Case("long silence", "long", silence, OK, "silence.flac")
    yield Case("long noise", "long", loud, OK)
