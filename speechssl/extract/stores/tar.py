"""Features as webdataset's tars: `STEM.tar` with one `KEY.npy` [T, C] float32 per utterance.

KEY is the id with everything but letters, digits, `-` and `_` escaped as in addresses (`urllib.parse.unquote` gives the
id back).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.errors import DataError
from speechssl.extract.job import Job
from speechssl.extract.stores._rows import checked
from speechssl.units.formats._tar import TarWriter, array_of, key_of, read_members, why_no_name


class Writer:
    """One member per utterance."""

    def __init__(self, folder: Path, stem: str, job: Job) -> None:
        self._archive = TarWriter(folder / f"{stem}.tar")

    def add(self, utterance_id: str, frames: np.ndarray) -> dict[str, Any]:
        """Write features [T, C] as a member."""
        self._archive.add_array(f"{key_of(utterance_id)}.npy", frames.astype("<f4", copy=False))
        return {}

    def close(self) -> None:
        """Write the archive's end."""
        self._archive.close()


def read(folder: Path, stem: str, rows: Sequence[dict[str, Any]], job: Job) -> Iterator[tuple[str, np.ndarray]]:
    """Features of the rows that are ok, one member at a time."""
    path = folder / f"{stem}.tar"
    stream = read_members(path)
    for row in rows:
        if "code" not in row:
            name, data = next(stream, ("", b""))
            if name != f"{key_of(row['id'])}.npy":
                raise DataError(f"{path}: expected the features of {row['id']!r}, found {name!r}")
            yield row["id"], checked(array_of(data, f"{path}: {name!r}"), row, folder / stem)
    if next(stream, None) is not None:
        raise DataError(f"{path}: holds more than its rows say")


def refuse(utterance_id: str) -> str | None:
    """An id names a member."""
    return why_no_name(utterance_id)
