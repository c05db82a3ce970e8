"""Features as `STEM.npz`: one array [T, C] float32 per utterance under its id, for `numpy.load(...)["id"]`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.extract.job import Job
from speechssl.extract.stores._rows import checked
from speechssl.units.formats._npz import NpzReader, NpzWriter


class Writer:
    """One uncompressed member per utterance."""

    def __init__(self, folder: Path, stem: str, job: Job) -> None:
        self._archive = NpzWriter(folder / f"{stem}.npz")

    def add(self, utterance_id: str, frames: np.ndarray) -> dict[str, Any]:
        """Write features [T, C] as a member."""
        self._archive.add(utterance_id, frames.astype("<f4", copy=False))
        return {}

    def close(self) -> None:
        """Write the archive's directory."""
        self._archive.close()


def read(folder: Path, stem: str, rows: Sequence[dict[str, Any]], job: Job) -> Iterator[tuple[str, np.ndarray]]:
    """Features of the rows that are ok, one member at a time."""
    with NpzReader(folder / f"{stem}.npz") as arrays:
        for row in rows:
            if "code" not in row:
                yield row["id"], checked(arrays[row["id"]], row, folder / stem)


def refuse(utterance_id: str) -> str | None:
    """numpy takes a key that ends in .npy for the member's own name; NUL ends a member's name."""
    if utterance_id.endswith(".npy"):
        return "numpy.load cannot find keys that end in .npy"
    if "\0" in utterance_id:
        return "NUL cannot be in a zip member's name"
    if len(utterance_id.encode()) > 65_000:
        return "longer than a zip member's name may be"
    return None
