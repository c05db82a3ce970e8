"""Features as Kaldi archives: `STEM.ark`, one float matrix per utterance. The finished folder has `feats.scp`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.data import ark
from speechssl.errors import DataError
from speechssl.extract.job import Job
from speechssl.extract.stores._rows import checked
from speechssl.units.formats.text import refuse

__all__ = ["Writer", "read", "refuse"]  # ids are words here too


class Writer:
    """Appends matrices; a row says at which byte its matrix begins."""

    def __init__(self, folder: Path, stem: str, job: Job) -> None:
        self._file = (folder / f"{stem}.ark").open("wb")

    def add(self, utterance_id: str, frames: np.ndarray) -> dict[str, Any]:
        """Append features [T, C]."""
        return {"offset": ark.write_entry(self._file, utterance_id, frames)}

    def close(self) -> None:
        """Close the archive."""
        self._file.close()


def read(folder: Path, stem: str, rows: Sequence[dict[str, Any]], job: Job) -> Iterator[tuple[str, np.ndarray]]:
    """Features of the rows that are ok."""
    entries = ark.read_ark(folder / f"{stem}.ark")
    for row in rows:
        if "code" not in row:
            name, frames = next(entries, ("", np.zeros((0, 0), np.float32)))
            if name != row["id"]:
                raise DataError(f"{folder / stem}.ark: {name!r} where {row['id']!r} belongs; run `speechssl verify`")
            yield name, checked(frames, row, folder / stem)
