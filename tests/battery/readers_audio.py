"""Readers of recordings, and a short recording in each container."""

import contextlib
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from speechssl import audio
from speechssl.errors import AudioError
from tests.battery.mutations import Case, Reader

RATE = 16000
SAMPLES = (0.3 * np.sin(np.arange(1600) * 0.05) + 0.01 * np.random.default_rng(0).standard_normal(1600)).astype("f4")


def recordings(folder: Path, ending: str, *kinds: tuple[str, str, int]) -> Sequence[Case]:
    """Files of one ending: (format, subtype, channels) each."""
    cases = []
    for number, (kind, subtype, channels) in enumerate(kinds):
        path = folder / f"{number}.{ending}"
        soundfile.write(path, np.stack([SAMPLES] * channels, 1), RATE, format=kind, subtype=subtype)
        cases.append(Case({f"x.{ending}": path.read_bytes()}))
    return cases


def read(home: Path) -> None:
    """The header, a segment, all of it."""
    (path,) = home.iterdir()
    refused = None
    for action in (
        lambda: audio.probe(path),
        lambda: audio.read(path, start_s=0.01, end_s=0.05),
        lambda: audio.read(path, max_s=3600.0),
    ):
        try:
            action()
        except AudioError as error:
            refused = error
    if refused:
        raise refused


def sphere(folder: Path) -> Sequence[Case]:
    data = (SAMPLES * 32767).astype("<i2").tobytes()
    fields = "sample_count -i 1600\nsample_n_bytes -i 2\nchannel_count -i 1\nsample_byte_format -s2 01\n"
    head = f"NIST_1A\n   1024\n{fields}sample_rate -i 16000\nsample_coding -s3 pcm\nend_head\n".encode().ljust(1024)
    return [Case({"x.sph": head + data})]


def unfinished(folder: Path) -> Sequence[Case]:
    """A WAV as it comes out of a pipe: no lengths."""
    soundfile.write(folder / "x.wav", SAMPLES, RATE)
    data = bytearray((folder / "x.wav").read_bytes())
    with contextlib.suppress(ValueError):
        data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    return [Case({"x.wav": bytes(data)})]


READERS = {
    "WAV": Reader(
        lambda folder: [
            *recordings(folder, "wav", ("WAV", "PCM_16", 1), ("WAV", "PCM_24", 2), ("WAV", "FLOAT", 1)),
            *recordings(folder, "wav", ("WAV", "IMA_ADPCM", 1), ("WAVEX", "PCM_16", 2), ("WAV", "ULAW", 1)),
            *unfinished(folder),
        ],
        read,
    ),
    "FLAC": Reader(lambda folder: recordings(folder, "flac", ("FLAC", "PCM_16", 1), ("FLAC", "PCM_24", 2)), read),
    "Ogg": Reader(lambda folder: recordings(folder, "ogg", ("OGG", "VORBIS", 1), ("OGG", "OPUS", 1)), read),
    "MP3": Reader(lambda folder: recordings(folder, "mp3", ("MP3", "MPEG_LAYER_III", 1)), read),
    "other audio": Reader(
        lambda folder: [
            *recordings(folder, "aiff", ("AIFF", "PCM_16", 1)),
            *recordings(folder, "au", ("AU", "PCM_16", 1)),
            *recordings(folder, "caf", ("CAF", "PCM_16", 1)),
            *recordings(folder, "w64", ("W64", "PCM_16", 1)),
            *recordings(folder, "rf64", ("RF64", "PCM_16", 1)),
            *recordings(folder, "voc", ("VOC", "PCM_16", 1)),
            *sphere(folder),
        ],
        read,
    ),
}
