"""The PNG writer, read back by a decoder of the test's own and, where there is one, by an imaging library."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechssl.report import png


def decode(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(name + body)
        chunks[name] = body
        at += 12 + size
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 3, [0, 0, 0])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 256), st.integers(0, 9))
def test_pixels_and_palette_come_back(height: int, width: int, colours: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, colours, (height, width)).astype(np.uint8)
    palette = rng.integers(0, 256, (colours, 3)).astype(np.uint8)
    found_pixels, found_palette = decode(png.encode(pixels, palette))
    np.testing.assert_array_equal(found_pixels, pixels)
    np.testing.assert_array_equal(found_palette, palette)


def test_an_imaging_library_sees_the_same() -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    palette = np.arange(18, dtype=np.uint8).reshape(6, 3)
    seen = np.asarray(image.open(io.BytesIO(png.encode(pixels, palette))).convert("RGB"))
    np.testing.assert_array_equal(seen, palette[pixels])


@pytest.mark.parametrize("pixels", [np.zeros((0, 3), np.uint8), np.full((2, 2), 5, np.uint8)])
def test_nothing_to_draw_and_colours_outside_the_palette_are_errors(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="indices below 5"):
        png.encode(pixels, np.zeros((5, 3), np.uint8))
