"""Tar shards for webdataset: `units.00000.tar`, … of about 1 GiB each.

Per utterance `KEY.json` (id, rate_hz, num_units), `KEY.npy` (the units) and, where runs are merged,
`KEY.durations.npy` (frames). KEY is the id with everything but letters, digits, `-` and `_` escaped; the id itself
stands in the json. Equal units give equal bytes.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.errors import DataError
from speechssl.units.formats import Info, Item
from speechssl.units.formats._tar import TarWriter, array_of, key_of, read_members, why_no_name
from speechssl.units.units import Units

_PART_BYTES = 1 << 30


def write(folder: Path, items: Iterable[Item], info: Info) -> None:
    """Write the archives; at least one, which may be empty."""
    kind = "<u2" if info.size <= 1 << 16 else "<i4"
    number, writer = 0, TarWriter(_part(folder, 0))
    try:
        for item in items:
            if writer.size >= _PART_BYTES:
                writer.close()
                number += 1
                writer = TarWriter(_part(folder, number))
            key = key_of(item.id)
            row = {"id": item.id, "rate_hz": info.rate_hz, "num_units": info.size}
            writer.add(f"{key}.json", json.dumps(row, ensure_ascii=False).encode())
            writer.add_array(f"{key}.npy", item.units.ids.astype(kind))
            if info.merged:
                writer.add_array(f"{key}.durations.npy", item.units.durations.astype("<i4"))
    finally:
        writer.close()


def read(folder: Path, info: Info) -> Iterator[tuple[str, Units]]:
    """Units in the order written; rate and size are the archive's own."""
    first = _part(folder, 0)
    parts = sorted(folder.glob("units.[0-9][0-9][0-9][0-9][0-9].tar"))
    if parts != [_part(folder, number) for number in range(max(1, len(parts)))]:
        raise DataError(f"{first}: not all of the archives are there, found {len(parts)}")
    for path in parts:
        stream = read_members(path)
        for name, data in stream:
            yield _utterance(path, name, data, stream, info)


def _utterance(
    path: Path, name: str, data: bytes, stream: Iterator[tuple[str, bytes]], info: Info
) -> tuple[str, Units]:
    where = f"{path}: {name!r}"
    try:
        row = json.loads(data)
        key, rate_hz, size = str(row["id"]), float(row["rate_hz"]), int(row["num_units"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise DataError(f"{where}: not the json of units: {error}") from None
    expected = key_of(key)
    if name != f"{expected}.json":
        raise DataError(f"{where}: is about {key!r}")
    ids = _column(path, stream, f"{expected}.npy")
    durations = _column(path, stream, f"{expected}.durations.npy") if info.merged else np.ones_like(ids)
    return key, Units(ids, durations, rate_hz, size)


def _column(path: Path, stream: Iterator[tuple[str, bytes]], expected: str) -> "np.ndarray[Any, np.dtype[np.int64]]":
    name, data = next(stream, ("", b""))
    if name != expected:
        raise DataError(f"{path}: expected {expected!r}, found {name!r}")
    array = array_of(data, f"{path}: {name!r}")
    if array.ndim != 1 or array.dtype.kind not in "ui":
        raise DataError(f"{path}: {name!r} holds no whole numbers")
    return array.astype(np.int64)


def _part(folder: Path, number: int) -> Path:
    return folder / f"units.{number:05}.tar"


def refuse(utterance_id: str) -> str | None:
    """An id names members."""
    return why_no_name(utterance_id)


def needs() -> None:
    """Nothing optional."""
