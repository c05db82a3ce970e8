"""Features as fairseq dumps them: `STEM.npy`, all frames [N, C] float32, and `STEM.len`, frames of each utterance.

Utterances that failed are in neither; `STEM.jsonl` says which those are.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.extract.job import Job
from speechssl.extract.stores._rows import checked
from speechssl.npy import map_npy

HEADER_BYTES = 128


class Writer:
    """Appends to the array; its header is filled in at the end, when the number of frames is known."""

    def __init__(self, folder: Path, stem: str, job: Job) -> None:
        self._array = (folder / f"{stem}.npy").open("wb")
        self._lengths = (folder / f"{stem}.len").open("w", newline="\n")
        self._array.write(bytes(HEADER_BYTES))
        self._shape = (0, 0)

    def add(self, utterance_id: str, frames: np.ndarray) -> dict[str, Any]:
        """Append features [T, C]."""
        self._array.write(np.ascontiguousarray(frames, dtype="<f4").data)
        self._lengths.write(f"{len(frames)}\n")
        self._shape = (self._shape[0] + len(frames), frames.shape[1])
        return {}

    def close(self) -> None:
        """Fill in the header."""
        self._array.seek(0)
        self._array.write(header("<f4", self._shape))
        self._array.close()
        self._lengths.close()


def read(folder: Path, stem: str, rows: Sequence[dict[str, Any]], job: Job) -> Iterator[tuple[str, np.ndarray]]:
    """Features of the rows that are ok, memory-mapped."""
    array = map_npy(folder / f"{stem}.npy")
    start = 0
    for row in rows:
        if "code" not in row:
            yield row["id"], checked(array[start : start + row["frames"]], row, folder / stem)
            start += row["frames"]


def refuse(utterance_id: str) -> str | None:
    """Any id will do: it stands in the row file only."""
    return None


def header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The first HEADER_BYTES of a version 1.0 .npy file in C order."""
    fields = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}"
    room = HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + fields.ljust(room - 1).encode() + b"\n"
