"""Writing .npz archives array by array; numpy.savez wants them all at once."""

import zipfile
from pathlib import Path

import numpy as np


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
