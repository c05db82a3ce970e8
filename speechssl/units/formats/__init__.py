"""Files of units, one module per format, picked by name.

Each has `write(folder, items, info)`, which streams (memory does not grow with the corpus, npz excepted),
`read(folder, info)`, its inverse, `refuse(id)`, which says why an id cannot be written unchanged, or None, and
`needs()`, which raises where an optional library is missing. The file names are the module's own.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from speechssl.errors import ConfigError
from speechssl.units.units import Units


@dataclass(frozen=True)
class Item:
    """One utterance as the formats see it."""

    id: str
    units: Units
    audio: str = ""  # path of the recording
    num_samples: int = 0  # at the encoder's rate
    whole: bool = True  # False for a segment of the recording, or what a command gave


@dataclass(frozen=True)
class Info:
    """What holds for all items of a file."""

    rate_hz: float
    size: int  # V
    merged: bool  # runs of one unit are merged: durations are written too
    home: Path  # the folder that the files will stay in (paths inside of them point there)
    root: str = "/"  # a folder above all recordings


class Format(Protocol):
    """A module of this folder."""

    def write(self, folder: Path, items: Iterable[Item], info: Info) -> None:
        """Write the format's files into `folder`."""
        ...

    def read(self, folder: Path, info: Info) -> Iterator[tuple[str, Units]]:
        """Ids and units in the order written."""
        ...

    def refuse(self, utterance_id: str) -> str | None:
        """Why this id cannot be written unchanged, or None."""
        ...

    def needs(self) -> None:
        """Raise ConfigError where an optional library is missing."""
        ...


def names() -> list[str]:
    """All formats."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def unit_format(name: str) -> Format:
    """The format of that name. ConfigError for an unknown one, or one whose library is missing."""
    if name not in names():
        raise ConfigError(f"unknown format {name!r} (known: {', '.join(names())})")
    module: Any = importlib.import_module(f"{__name__}.{name}")
    module.needs()
    return module
