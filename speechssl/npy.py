""".npy arrays from outside. The header is parsed here: numpy's own parser runs Python's tokenizer over it."""

import io
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechssl import files
from speechssl.errors import CheckpointError

_HEADER = re.compile(
    rb"\{'descr': '([<>|]?(?:[iu][1248]|f[248]|b1|[SU]\d{1,6}))', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,12}L?(?:, ?\d{1,12}L?){0,31},?)?)\),? ?\}[ \n]*"
)


@dataclass(frozen=True)
class _Header:
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    end: int  # bytes before the data

    def check(self, num_bytes: int, where: str) -> None:
        if math.prod(self.shape) * self.dtype.itemsize != num_bytes - self.end:
            raise CheckpointError(
                f"{where}: {num_bytes - self.end} bytes are not an array {self.shape} of {self.dtype}: truncated?"
            )


def read_npy(data: bytes, where: str) -> np.ndarray:
    """The array in the bytes of a .npy file (format 1 to 3), a view of them. Raises CheckpointError."""
    header = _parse(io.BytesIO(data), where)
    header.check(len(data), where)
    flat = np.frombuffer(data, header.dtype, offset=header.end) if header.end < len(data) else np.empty(0, header.dtype)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")


def map_npy(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped read-only. Raises CheckpointError."""
    try:
        files.check_regular(path)
        with path.open("rb") as file:
            header = _parse(file, str(path))
            header.check(os.fstat(file.fileno()).st_size, str(path))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from None
    if 0 in header.shape:
        return np.empty(header.shape, header.dtype)
    return np.memmap(path, header.dtype, "r", header.end, header.shape, order="F" if header.fortran else "C")


def _parse(file: io.BufferedIOBase | io.BytesIO | io.BufferedReader, where: str) -> _Header:
    magic = file.read(8)
    version = magic[6] if magic[:6] == b"\x93NUMPY" and len(magic) == 8 else 0
    if version not in (1, 2, 3):
        raise CheckpointError(f"{where}: not a .npy array")
    start = 10 if version == 1 else 12
    end = start + int.from_bytes(file.read(start - 8), "little")
    text = file.read(min(end - start, 10_000))
    found = _HEADER.fullmatch(text)
    if not found or len(text) != end - start:
        raise CheckpointError(f"{where}: a .npy array of a structured or object dtype, or damaged: {text!r:.100}")
    shape = tuple(int(n) for n in re.findall(rb"\d+", found[3]))
    return _Header(np.dtype(found[1].decode()), shape, found[2] == b"True", end)
