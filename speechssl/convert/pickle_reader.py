"""The only door for foreign pickles: torch's .pt/.pth/.bin (zip and older stream), joblib dumps, plain pickles.

`read_pickle_file` executes nothing from the file and imports nothing it names (see `pickle_machine`). Sizes stated in a
file are checked against the bytes that are there before memory is taken:

- torch zip: records must be stored, not compressed (torch never compresses), inside one folder, without duplicates, and
  their CRC must hold. Tensors are views of a private memory map, so storages that nobody uses are never loaded.
- torch stream (before 1.6): storages are filled after the pickle, as far as the file reaches.
- joblib: arrays inside the stream; zlib, gzip, bz2, xz and lzma are unpacked up to `max_unpacked` bytes, and no further
  than numbers can be compressed.
"""

import bz2
import io
import lzma
import mmap
import os
import stat
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechssl.convert.pickle_machine import Machine, Stream
from speechssl.convert.pickle_objects import CONSTANTS, KNOWN, STORAGE_DTYPES, Storage
from speechssl.convert.pickle_values import Budget, Global, Stub, check_tree
from speechssl.errors import CheckpointError
from speechssl.files import most_unpacked

__all__ = ["Global", "Stub", "read_pickle_file"]

_WORK = 2_000_000  # opcodes and copied elements; a fairseq checkpoint of 1000 tensors takes about 50 000
_COPIES = 256 << 20  # bytes that calls may copy, beside four times the file
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_LZMA_MEMORY = 256 << 20  # a header may ask for a dictionary of 4 GB
# What damaged bytes raise in genops, zipfile, struct, numpy and torch calls, and in our own indexing of odd arguments.
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, EOFError, struct.error)
_PACKED = (zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError)
_HINTS = {
    b"\x93NUMPY": "a .npy array; give it the suffix .npy",
    b"\x04\x22\x4d\x18": "an lz4-compressed file; unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd-compressed file; unpack it first",
}


def read_pickle_file(path: str | os.PathLike[str], *, max_bytes: int = 64 << 30, max_unpacked: int = 1 << 30) -> Any:
    """The object tree of a foreign file: dicts, lists, strings, numbers, real tensors and arrays, `Stub` for the rest.

    Names that are referred to but not called come as `Global`. Outside of stubs the tree has no cycles. max_bytes
    limits the file, max_unpacked what a compressed file unpacks to. CheckpointError for anything that cannot be read.
    """
    path = Path(path)
    data = _map(path, max_bytes)
    try:
        value = _read(data, max_unpacked)
        check_tree(value)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (*_DAMAGE, *_PACKED) as error:
        raise CheckpointError(f"{path}: damaged, or not a file of this kind: {error}") from error
    return value


def _map(path: Path, max_bytes: int) -> mmap.mmap:
    """The whole file, mapped copy-on-write: writing to a tensor never changes the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not make us wait
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be opened: {error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{path}: not a regular file")
        if not 0 < status.st_size <= max_bytes:
            raise CheckpointError(f"{path}: {status.st_size} bytes; expected 1 to {max_bytes}")
        return mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)


def _read(data: mmap.mmap, max_unpacked: int) -> Any:
    head = data[:8]
    for magic, hint in _HINTS.items():
        if head.startswith(magic):
            raise CheckpointError(hint)
    budget = Budget(_WORK, _COPIES + 4 * len(data))
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(data, budget)
    return _read_stream(_unpacked(data, min(max_unpacked, most_unpacked(len(data)))), budget)


# torch zip


def _read_zip(data: mmap.mmap, budget: Budget) -> Any:
    records = _records(data)
    pickles = [name for name in records if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1]
    if len(pickles) != 1:
        raise CheckpointError("a zip file without torch's data.pkl (an .npz has the suffix .npz)")
    folder = pickles[0].removesuffix("data.pkl")
    if any(not name.startswith(folder) for name in records):
        raise CheckpointError("a torch file with records outside its folder")
    order = records.get(f"{folder}byteorder")
    if order and data[order.start : order.stop] != b"little":
        raise CheckpointError("a torch file written on a big-endian machine")
    storages: dict[str, torch.Tensor] = {}

    def persistent(pid: Any) -> Storage:
        dtype, key, count = _storage_id(pid)
        if key not in storages:
            storages[key] = _record_tensor(data, records[f"{folder}data/{key}"])
        if storages[key].numel() != count * dtype.itemsize:
            raise CheckpointError(f"storage {key} holds {storages[key].numel()} bytes, its pickle says otherwise")
        storage = Storage(storages[key], dtype)
        storage.check()
        return storage

    place = records[pickles[0]]
    stream = io.BytesIO(data[place.start : place.stop])
    return _run(stream, budget, persistent, end=len(place))


def _records(data: mmap.mmap) -> dict[str, range]:
    """Where the bytes of each record lie, every one checked against its CRC."""
    records: dict[str, range] = {}
    with zipfile.ZipFile(io.BufferedReader(_Raw(data))) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > len(data):  # checking the same bytes again and again takes hours
        raise CheckpointError("a zip file whose records overlap, or are larger than the file: truncated?")
    for entry in entries:
        name, size = entry.filename, entry.file_size
        if name in records or name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise CheckpointError(f"a zip file with the duplicate or escaping name {name!r}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != size or entry.flag_bits & 1:
            raise CheckpointError(f"its record {name!r} is compressed or encrypted, which torch never does")
        local = data[entry.header_offset : entry.header_offset + 30]
        if local[:4] != b"PK\x03\x04":
            raise CheckpointError(f"its record {name!r} has no header")
        name_size, extra_size = struct.unpack("<HH", local[26:30])
        start = entry.header_offset + 30 + name_size + extra_size
        if start + size > len(data):
            raise CheckpointError(f"its record {name!r} of {size} bytes reaches beyond the file: truncated?")
        if zlib.crc32(memoryview(data)[start : start + size]) != entry.CRC:
            raise CheckpointError(f"its record {name!r} is damaged (CRC)")
        records[name] = range(start, start + size)
    return records


class _Raw(io.RawIOBase):
    """The mapped file as a seekable file of its own position, for zipfile."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        chunk = self._data[self._at : self._at + len(buffer)]
        buffer[: len(chunk)] = chunk
        self._at += len(chunk)
        return len(chunk)


def _record_tensor(data: mmap.mmap, place: range) -> torch.Tensor:
    if not len(place):
        return torch.empty(0, dtype=torch.uint8)
    tensor = torch.frombuffer(data, dtype=torch.uint8, offset=place.start, count=len(place))
    return tensor if place.start % 16 == 0 else tensor.clone()  # torch aligns to 64; views of wider types need it


def _storage_id(pid: Any) -> tuple[torch.dtype, str, int]:
    kind, cls, key, _, count, *_ = pid
    known = isinstance(cls, Global) and cls.module in ("torch", "torch.cuda", "torch.storage")
    if kind != "storage" or not known or cls.name not in STORAGE_DTYPES:
        raise CheckpointError(f"it holds a storage of the unknown kind {getattr(cls, 'name', cls)!r}")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise CheckpointError("it refers to a storage in an unknown way")
    return STORAGE_DTYPES[cls.name], key, count


# Pickle streams: plain, joblib, and torch before 1.6


def _run(stream: Stream, budget: Budget, persistent: Any = None, *, end: int | None = None) -> Any:
    known = {**KNOWN, ("torch.storage", "_load_from_bytes"): _load_from_bytes}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # odd escapes in protocol 0 text are not the user's doing
        value = Machine(stream, known=known, constants=CONSTANTS, budget=budget, persistent=persistent).run()
    if end is not None and stream.tell() != end:
        raise CheckpointError(f"{end - stream.tell()} bytes follow the end of the pickle in it")
    return value


def _read_stream(stream: mmap.mmap | io.BytesIO, budget: Budget) -> Any:
    stream.seek(0, io.SEEK_END)
    end = stream.tell()
    stream.seek(0)
    value = _run(stream, budget)
    if type(value) is int and value == _TORCH_MAGIC:
        return _read_torch_stream(stream, budget, end)
    if stream.tell() != end:
        raise CheckpointError(f"{end - stream.tell()} bytes follow the end of the pickle in it")
    return value


def _read_torch_stream(stream: Stream, budget: Budget, end: int) -> Any:
    """The rest of torch's older format: protocol, system, the pickle, the storages' keys, the storages."""
    protocol, system = _run(stream, budget), _run(stream, budget)
    if protocol != 1001 or system["little_endian"] is not True:
        raise CheckpointError(f"a torch stream of protocol {protocol!r}, or written on a big-endian machine")
    storages: dict[str, Storage] = {}
    room = end - stream.tell()

    def persistent(pid: Any) -> Any:
        nonlocal room
        if pid[0] == "module":  # (kind, class, source file, source text) of a pickled module: the class alone
            return pid[1]
        dtype, key, count = _storage_id(pid)
        if key not in storages:
            room -= count * dtype.itemsize
            if room < 0:
                raise CheckpointError("its storages are larger than the file: truncated?")
            storages[key] = Storage(torch.zeros(count * dtype.itemsize, dtype=torch.uint8), dtype)
        if storages[key].dtype != dtype or storages[key].data.numel() != count * dtype.itemsize:
            raise CheckpointError(f"it describes storage {key} in two ways")
        return _storage_view(storages[key], pid[5] if len(pid) > 5 else None)

    value = _run(stream, budget, persistent)
    keys = _run(stream, budget)
    if sorted(keys) != sorted(storages):
        raise CheckpointError("its list of storages is not the list that its pickle uses")
    for key in keys:
        target = storages[key]
        (count,) = struct.unpack("<q", stream.read(8))
        if count * target.dtype.itemsize != target.data.numel():
            raise CheckpointError(f"storage {key} has {count} elements, its pickle says otherwise")
        raw = stream.read(target.data.numel())
        if len(raw) != target.data.numel():  # a single byte would fill them all
            raise CheckpointError(f"storage {key} is cut short: truncated?")
        target.data.numpy()[:] = np.frombuffer(raw, np.uint8)
        target.check()
    if stream.tell() != end:
        raise CheckpointError(f"{end - stream.tell()} bytes follow the last storage in it")
    return value


def _storage_view(storage: Storage, view: Any) -> Storage:
    if view is None:
        return storage
    _, offset, size = view
    width = storage.dtype.itemsize
    if not (
        type(offset) is int and type(size) is int and 0 <= offset <= offset + size <= storage.data.numel() // width
    ):
        raise CheckpointError("it views a storage beyond its end")
    return Storage(storage.data[offset * width : (offset + size) * width], storage.dtype)


def _load_from_bytes(args: tuple[Any, ...], budget: Budget) -> Any:
    """A storage pickled outside `torch.save`: a torch file within the pickle."""
    (raw,) = args
    if not isinstance(raw, bytes):
        raise CheckpointError("a storage in it is not made of bytes")
    budget.charge(1000, num_bytes=2 * len(raw))
    return _read_stream(io.BytesIO(raw), budget)


def _unpacked(data: mmap.mmap, limit: int) -> mmap.mmap | io.BytesIO:
    head = data[:6]
    if head[:2] == b"\x1f\x8b" or (head[:1] == b"\x78" and head[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda")):
        unpacker: Any = zlib.decompressobj(wbits=47)  # zlib or gzip, by the header
    elif head[:3] == b"BZh":
        unpacker = bz2.BZ2Decompressor()
    elif head == b"\xfd7zXZ\x00" or head[:3] == b"\x5d\x00\x00":
        unpacker = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    else:
        return data
    unpacked = unpacker.decompress(data, limit + 1)
    if len(unpacked) > limit:
        raise CheckpointError(f"it unpacks to more than {limit} bytes; no k-means model does")
    if not unpacker.eof or unpacker.unused_data:
        raise CheckpointError("its compressed data is cut short or has something behind it")
    return io.BytesIO(unpacked)
