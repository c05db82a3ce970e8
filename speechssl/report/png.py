"""A PNG writer for palette images: all that a spectrogram needs, without an imaging library.

ISO/IEC 15948, colour type 3 (palette), bit depth 8, filter 0 on every row (the standard's advice for palette images).
"""

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode(pixels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """PNG file of pixels [H, W], each an index into palette [P <= 256, 3] of sRGB values."""
    if pixels.ndim != 2 or not pixels.size or int(pixels.max()) >= len(palette):
        raise ValueError(f"pixels {pixels.shape} must be a non-empty matrix of indices below {len(palette)}")
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    rows = np.zeros((height, width + 1), np.uint8)  # column 0: the row's filter type, 0
    rows[:, 1:] = pixels
    body = _chunk(b"PLTE", palette.astype(np.uint8).tobytes()) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
    return _SIGNATURE + _chunk(b"IHDR", header) + body + _chunk(b"IEND", b"")


def data_uri(data: bytes, kind: str) -> str:
    """A data: URI of media type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
