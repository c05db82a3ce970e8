"""Unit ids, one per frame: `STEM.npy`, uint16 (int32 above 65,536 units), all utterances one after another."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.errors import DataError
from speechssl.extract.job import Job
from speechssl.extract.stores.npy import HEADER_BYTES, header
from speechssl.npy import map_npy


class Writer:
    """Appends ids; the header is filled in at the end."""

    def __init__(self, folder: Path, stem: str, job: Job) -> None:
        self._dtype = "<u2" if (job.model.num_units or 0) <= 1 << 16 else "<i4"
        self._file = (folder / f"{stem}.npy").open("wb")
        self._file.write(bytes(HEADER_BYTES))
        self._size = 0

    def add(self, utterance_id: str, frames: np.ndarray) -> dict[str, Any]:
        """Append ids [T]."""
        self._file.write(frames.astype(self._dtype).data)
        self._size += len(frames)
        return {}

    def close(self) -> None:
        """Fill in the header."""
        self._file.seek(0)
        self._file.write(header(self._dtype, (self._size,)))
        self._file.close()


def read(folder: Path, stem: str, rows: Sequence[dict[str, Any]], job: Job) -> Iterator[tuple[str, np.ndarray]]:
    """Ids [T] int64 of the rows that are ok."""
    ids = map_npy(folder / f"{stem}.npy")
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise DataError(f"{folder / stem}.npy holds {ids.dtype} {ids.shape}, not units")
    start = 0
    for row in rows:
        if "code" not in row:
            yield row["id"], ids[start : start + row["frames"]].astype(np.int64)
            start += row["frames"]
    if start != len(ids):
        raise DataError(f"{folder / stem}.npy holds {len(ids)} units, its rows say {start}; run `speechssl verify`")


def refuse(utterance_id: str) -> str | None:
    """Any id will do: it stands in the row file only."""
    return None
