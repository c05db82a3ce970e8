"""`units.jsonl`, an object per line: id, units, rate_hz, num_units, and durations (frames) where runs are merged."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.errors import DataError
from speechssl.units.formats import Info, Item
from speechssl.units.formats._lines import lines
from speechssl.units.units import Units


def write(folder: Path, items: Iterable[Item], info: Info) -> None:
    """Write `units.jsonl`."""
    with (folder / "units.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for item in items:
            row: dict[str, Any] = {"id": item.id, "units": item.units.ids.tolist()}
            if info.merged:
                row["durations"] = item.units.durations.tolist()
            row |= {"rate_hz": info.rate_hz, "num_units": info.size}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read(folder: Path, info: Info) -> Iterator[tuple[str, Units]]:
    """Units by line; rate and size are the file's own."""
    path = folder / "units.jsonl"
    for number, text in lines(path):
        try:
            row = json.loads(text)
            ids = np.array(row["units"], dtype=np.int64)
            durations = np.array(row["durations"], dtype=np.int64) if "durations" in row else np.ones_like(ids)
            yield str(row["id"]), Units(ids, durations, float(row["rate_hz"]), int(row["num_units"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not a line of units: {error}") from error


def refuse(utterance_id: str) -> str | None:
    """JSON holds any id."""
    return None


def needs() -> None:
    """Nothing optional."""
