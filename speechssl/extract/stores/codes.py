"""Codes of a codec as `STEM.npz`: one array [T, G] of whole numbers per utterance, for `numpy.load(...)["id"]`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.errors import DataError
from speechssl.extract.job import Job
from speechssl.extract.stores.npz import refuse
from speechssl.units.formats._npz import NpzReader, NpzWriter

__all__ = ["Writer", "read", "refuse"]


class Writer:
    """One uncompressed member per utterance, uint16 (int32 for codebooks above 65,536 entries)."""

    def __init__(self, folder: Path, stem: str, job: Job) -> None:
        self._dtype = "<u2" if (job.model.num_units or 0) <= 1 << 16 else "<i4"
        self._archive = NpzWriter(folder / f"{stem}.npz")

    def add(self, utterance_id: str, frames: np.ndarray) -> dict[str, Any]:
        """Write codes [T, G], or [T] of one codebook, as a member."""
        self._archive.add(utterance_id, frames.reshape(len(frames), -1).astype(self._dtype))
        return {}

    def close(self) -> None:
        """Write the archive's directory."""
        self._archive.close()


def read(folder: Path, stem: str, rows: Sequence[dict[str, Any]], job: Job) -> Iterator[tuple[str, np.ndarray]]:
    """Codes [T, G] int64 of the rows that are ok, one member at a time."""
    with NpzReader(folder / f"{stem}.npz") as arrays:
        for row in rows:
            if "code" in row:
                continue
            codes = arrays[row["id"]]
            if codes.ndim != 2 or codes.dtype.kind not in "iu" or len(codes) != row["frames"]:
                found = f"{codes.dtype} {list(codes.shape)}"
                raise DataError(f"{folder / stem}: {row['id']!r} has {found}, not {row['frames']} frames of codes; run "
                                "`speechssl verify`")  # fmt: skip
            yield row["id"], codes.astype(np.int64)
