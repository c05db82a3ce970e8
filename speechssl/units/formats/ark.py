"""Kaldi archives of int32 vectors: `units.ark` with `units.scp`; `durations.ark`, `.scp` too where runs are merged.

The index names the archive by its absolute path, as Kaldi's own scripts do: after moving the folder, mend it with sed.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from speechssl.data import ark
from speechssl.errors import DataError
from speechssl.units.formats import Info, Item
from speechssl.units.formats._lines import why_no_word
from speechssl.units.units import Units


def write(folder: Path, items: Iterable[Item], info: Info) -> None:
    """Write archives and indices."""
    with ExitStack() as stack:
        writers = {}
        for name in ["units", *(["durations"] if info.merged else [])]:
            paths = folder / f"{name}.ark", folder / f"{name}.scp"
            writers[name] = stack.enter_context(ark.ArkWriter(*paths, ark_name=str(info.home / f"{name}.ark")))
        for item in items:
            writers["units"].write(item.id, item.units.ids)
            if info.merged:
                writers["durations"].write(item.id, item.units.durations)


def read(folder: Path, info: Info) -> Iterator[tuple[str, Units]]:
    """Units by entry."""
    durations = ark.read_ark(folder / "durations.ark") if info.merged else None
    for name, ids in ark.read_ark(folder / "units.ark"):
        held = np.ones(len(ids), np.int64)
        if durations is not None:
            other, held = next(durations, ("", held[:0]))
            if other != name:
                raise DataError(f"{folder / 'durations.ark'}: utterance {other!r}, but {name!r} in units.ark")
        yield name, Units(ids.astype(np.int64), held.astype(np.int64), info.rate_hz, info.size)


def refuse(utterance_id: str) -> str | None:
    """A space ends an id."""
    return why_no_word(utterance_id)


def needs() -> None:
    """Nothing optional."""
