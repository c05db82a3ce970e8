"""Ogg (RFC 3533), for Vorbis, Opus and FLAC inside: every page has a CRC, and the last one says that it is the last.

The decoders skip damaged pages without a word; the pages are checked here instead.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from speechssl.audio.fields import Damage, Facts, read_at, read_exactly

_MAX_PAGE = 27 + 255 + 255 * 255
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FIRST, _LAST = 2, 4  # flags of a page


class _Page(NamedTuple):
    flags: int
    serial: bytes
    end: int  # offset behind it


def check(file: BinaryIO, size: int) -> Facts:
    """First and last page. Raises Damage."""
    first = _page_at(file, 0, size)
    if not first.flags & _FIRST:
        raise Damage("truncated", "the file does not begin with the beginning of an Ogg stream")
    last = _last_page(file, size)
    if last.end != size or not last.flags & _LAST:
        raise Damage("truncated", "the file ends before its Ogg stream does (no page that says it is the last)")
    return Facts()


def verify_pages(file: BinaryIO, size: int) -> list[str]:
    """Every page's CRC and the chain of pages. Raises Damage; returns notes."""
    num_streams = 0
    for page in _pages(file, size):
        num_streams += bool(page.flags & _FIRST)
    if num_streams > 1:
        raise Damage(
            "unsupported", f"{num_streams} Ogg streams in one file, of which decoders read the first; split it"
        )
    return []


def page_crc(page: bytes) -> int:
    """Ogg's CRC-32 (polynomial 0x04c11db7, not reflected) of a page whose CRC field is zero.

    zlib's CRC has the same polynomial with the bits of bytes and result in reverse order.
    """
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED))


def _pages(file: BinaryIO, size: int) -> Iterator[_Page]:
    position = 0
    while position < size:
        page = _page_at(file, position, size)
        yield page
        position = page.end


def _page_at(file: BinaryIO, position: int, size: int) -> _Page:
    head = read_exactly(file, position, 27, "Ogg page header")
    if head[:5] != b"OggS\0":
        raise Damage("corrupt", f"no Ogg page at byte {position}")
    lacing = read_exactly(file, position + 27, head[26], "Ogg page header")
    body = read_exactly(file, position + 27 + len(lacing), sum(lacing), "last Ogg page")
    if page_crc(head[:22] + bytes(4) + head[26:] + lacing + body) != int.from_bytes(head[22:26], "little"):
        raise Damage("corrupt", f"the Ogg page at byte {position} does not match its checksum")
    return _Page(head[5], head[14:18], position + 27 + len(lacing) + len(body))


def _last_page(file: BinaryIO, size: int) -> _Page:
    start = max(0, size - _MAX_PAGE)
    tail = read_at(file, start, _MAX_PAGE)
    position = tail.rfind(b"OggS\0")
    while position >= 0:
        try:
            return _page_at(file, start + position, size)
        except Damage as damage:
            if damage.code == "truncated":
                raise
            position = tail.rfind(b"OggS\0", 0, position)
    raise Damage("truncated", "the end of the file is not in Ogg pages")
