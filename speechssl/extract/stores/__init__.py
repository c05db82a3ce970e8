"""How a shard holds its frames: one module per store, picked by name.

Each has `Writer(folder, stem, job)` with `add(id, frames) -> extra fields of the row` and `close()`, and
`read(folder, stem, rows, job) -> (id, frames) of the rows that are ok, in order`. `refuse(id)` says why an id cannot be
kept as it is, or None. Writers stream: they never hold more than one utterance. Beside the store every shard has
`STEM.jsonl`, one line per row.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from speechssl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from speechssl.extract.job import Job


class Writer(Protocol):
    """Writes the frames of one shard."""

    def add(self, utterance_id: str, frames: "np.ndarray") -> dict[str, Any]:
        """Append one utterance: ids [T] or features [T, C] float32; returns what its row must say to find it."""
        ...

    def close(self) -> None:
        """Finish the files."""
        ...


class Store(Protocol):
    """A module of this folder."""

    def Writer(self, folder: Path, stem: str, job: "Job") -> Writer:
        """Start a shard's files in `folder`."""
        ...

    def read(
        self, folder: Path, stem: str, rows: Sequence[dict[str, Any]], job: "Job"
    ) -> "Iterator[tuple[str, np.ndarray]]":
        """Frames of the rows that are ok."""
        ...

    def refuse(self, utterance_id: str) -> str | None:
        """Why this id cannot be written, or None."""
        ...


def store(name: str) -> Store:
    """The store of that name. ConfigError for an unknown one."""
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    if name not in names:
        raise ConfigError(f"unknown store {name!r} (known: {', '.join(names)})")
    module: Any = importlib.import_module(f"{__name__}.{name}")
    return module
