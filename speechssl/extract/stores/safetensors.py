"""Features as `STEM.safetensors`: one tensor [T, C] float32 per utterance under its id.

The file is laid out here, not by the safetensors library, which wants all tensors in memory: 8 bytes header length, a
JSON header, the data.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechssl import files
from speechssl.errors import DataError
from speechssl.extract.job import Job
from speechssl.extract.stores._rows import checked


class Writer:
    """Data goes to a side file; the header in front needs all of its lengths."""

    def __init__(self, folder: Path, stem: str, job: Job) -> None:
        self._path = folder / f"{stem}.safetensors"
        self._data = (folder / f"{stem}.data").open("w+b")
        self._header: dict[str, Any] = {}
        self._size = 0

    def add(self, utterance_id: str, frames: np.ndarray) -> dict[str, Any]:
        """Append features [T, C]."""
        self._data.write(np.ascontiguousarray(frames, dtype="<f4").data)
        end = self._size + 4 * frames.size
        self._header[utterance_id] = {"dtype": "F32", "shape": list(frames.shape), "data_offsets": [self._size, end]}
        self._size = end
        return {}

    def close(self) -> None:
        """Put header and data together."""
        text = json.dumps(self._header, ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        with self._path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            self._data.seek(0)
            shutil.copyfileobj(self._data, file, 1 << 20)
        self._data.close()
        Path(self._data.name).unlink()


def read(folder: Path, stem: str, rows: Sequence[dict[str, Any]], job: Job) -> Iterator[tuple[str, np.ndarray]]:
    """Features of the rows that are ok."""
    from safetensors import SafetensorError, safe_open

    path = folder / f"{stem}.safetensors"
    try:
        files.check_regular(path)
        with safe_open(path, framework="numpy") as file:
            for row in rows:
                if "code" not in row:
                    yield row["id"], checked(file.get_tensor(row["id"]), row, folder / stem)
    except (SafetensorError, OSError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: damaged: {error}; run `speechssl verify`") from None


def refuse(utterance_id: str) -> str | None:
    """One name is the format's own."""
    return "safetensors keeps this name for itself" if utterance_id == "__metadata__" else None
