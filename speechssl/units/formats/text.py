"""Kaldi text: `units`, one line `id u u u` per utterance; with merged runs also `durations`, `id d d d` in frames."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from speechssl.errors import DataError
from speechssl.units.formats import Info, Item
from speechssl.units.formats._lines import integers, lines, why_no_word
from speechssl.units.units import Units


def write(folder: Path, items: Iterable[Item], info: Info) -> None:
    """Write `units`, and `durations` where runs are merged."""
    with ExitStack() as stack:
        units = stack.enter_context((folder / "units").open("w", encoding="utf-8", newline="\n"))
        durations = None
        if info.merged:
            durations = stack.enter_context((folder / "durations").open("w", encoding="utf-8", newline="\n"))
        for item in items:
            units.write(line(item.id, item.units.ids))
            if durations:
                durations.write(line(item.id, item.units.durations))


def read(folder: Path, info: Info) -> Iterator[tuple[str, Units]]:
    """Units by line."""
    durations = lines(folder / "durations") if info.merged else None
    for number, text in lines(folder / "units"):
        name, _, rest = text.partition(" ")
        ids = integers(rest, f"{folder / 'units'}:{number}")
        held = np.ones_like(ids)
        if durations is not None:
            other, _, rest = next(durations, (0, ""))[1].partition(" ")
            held = integers(rest, f"{folder / 'durations'}:{number}")
            if other != name:
                raise DataError(f"{folder / 'durations'}:{number}: utterance {other!r}, but {name!r} in units")
        yield name, Units(ids, held, info.rate_hz, info.size)


def refuse(utterance_id: str) -> str | None:
    """Whitespace separates the words of a line."""
    return why_no_word(utterance_id)


def needs() -> None:
    """Nothing optional."""


def line(utterance_id: str, numbers: np.ndarray) -> str:
    """One line of a Kaldi text file."""
    return " ".join([utterance_id, *map(str, numbers.tolist())]) + "\n"
