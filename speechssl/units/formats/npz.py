"""`units.npz`, columns of all utterances: `ids` (strings), `offsets` [U + 1], `units` [N], `durations` [N] where runs
are merged, `rate_hz`, `num_units`. Utterance i is `units[offsets[i]:offsets[i + 1]]`.

One array per column must be whole in memory: 2 bytes per unit (4 above 65,536 units), about 0.4 GB per 1,000 h.
"""

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.errors import DataError
from speechssl.units.formats import Info, Item
from speechssl.units.formats._npz import NpzReader, NpzWriter
from speechssl.units.units import Units


def write(folder: Path, items: Iterable[Item], info: Info) -> None:
    """Write `units.npz`."""
    units, durations = array("H" if info.size <= 1 << 16 else "i"), array("i")
    names, offsets = [], array("q", [0])
    for item in items:
        names.append(item.id)
        units.extend(item.units.ids.tolist())
        if info.merged:
            durations.extend(item.units.durations.tolist())
        offsets.append(len(units))
    columns: dict[str, Any] = {
        "ids": np.array(names, dtype=np.str_) if names else np.zeros(0, "<U1"),
        "offsets": np.array(offsets),
        "units": np.array(units),
        **({"durations": np.array(durations)} if info.merged else {}),
        "rate_hz": np.float64(info.rate_hz),
        "num_units": np.int64(info.size),
    }
    with NpzWriter(folder / "units.npz") as archive:
        for name, column in columns.items():
            archive.add(name, np.asanyarray(column))


def read(folder: Path, info: Info) -> Iterator[tuple[str, Units]]:
    """Units by utterance; rate and size are the file's own."""
    path = folder / "units.npz"
    try:
        with NpzReader(path) as columns:
            offsets, ids, names = columns["offsets"], _integers(columns["units"]), columns["ids"]
            durations = _integers(columns["durations"]) if "durations" in columns else np.ones_like(ids)
            rate_hz, size = float(columns["rate_hz"]), int(columns["num_units"])
        if names.dtype.kind != "U" or offsets.dtype.kind != "i" or (np.diff(offsets, prepend=0) < 0).any():
            raise DataError(f"{path}: ids are no strings, or offsets no rising numbers")
        for name, start, end in zip(names.tolist(), offsets[:-1], offsets[1:], strict=True):
            yield name, Units(ids[start:end], durations[start:end], rate_hz, size)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise DataError(f"{path}: not a file of units: {error}") from error


def _integers(column: np.ndarray) -> np.ndarray:
    if column.dtype.kind not in "iu":
        raise DataError(f"a column of {column.dtype} where whole numbers belong")
    return column.astype(np.int64)


def refuse(utterance_id: str) -> str | None:
    """numpy's strings lose NULs at their end."""
    return "contains NUL, which this format cannot hold" if "\0" in utterance_id else None


def needs() -> None:
    """Nothing optional."""
