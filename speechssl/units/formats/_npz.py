"""Writing .npz archives array by array (numpy.savez wants them all at once), and reading those of others."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speechssl import files
from speechssl.errors import DataError
from speechssl.npy import read_npy

_BY_NUMPY = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


class NpzWriter(zipfile.ZipFile):
    """An uncompressed archive for numpy.load. All dates are 1980, so equal arrays give equal bytes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w", zipfile.ZIP_STORED)

    def add(self, name: str, array: np.ndarray) -> None:
        """Write one array as a member, in pieces."""
        with self.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)

    def __del__(self) -> None:
        """Do nothing: ZipFile would close itself here, and fail once more where a disk is full."""


class NpzReader:
    """Arrays by name. Nothing is unpacked to more than numbers can be; raises DataError for all that is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            files.check_regular(path)
            self._archive = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise DataError(f"{path}: not an .npz archive: {error}") from None
        self._left = files.most_unpacked(path.stat().st_size)

    def __enter__(self) -> "NpzReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def __iter__(self) -> Iterator[str]:
        return (name.removesuffix(".npy") for name in self._archive.NameToInfo if name.endswith(".npy"))

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._archive.NameToInfo

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            entry = self._archive.getinfo(f"{name}.npy")
            self._left -= entry.file_size
            if entry.compress_type not in _BY_NUMPY or self._left < 0:
                raise DataError(f"{self._path}: unpacks to far more than its size, or as numpy never packs")
            return read_npy(self._archive.read(entry), f"{self._path} ({name})")
        except _DAMAGE as error:
            raise DataError(f"{self._path}: {name!r} cannot be read: {error}") from None
