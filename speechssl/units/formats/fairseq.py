"""fairseq labels: `units.km` (one line of units per utterance), `units.tsv` (root, then path and samples, line by
line the same utterances), `dict.km.txt`, and `units.ids`, the ids that fairseq has no place for.

Samples are counted at the encoder's rate, as fairseq wants them. Merged runs put `units.dur` beside (fairseq's own
labels are not merged). Segments and commands cannot stand in a manifest of files: they are refused.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from speechssl.errors import DataError
from speechssl.units.formats import Info, Item
from speechssl.units.formats._lines import integers, lines
from speechssl.units.units import Units


def write(folder: Path, items: Iterable[Item], info: Info) -> None:
    """Write the four files, and `units.dur` where runs are merged."""
    endings = ["km", "tsv", "ids", *(["dur"] if info.merged else [])]
    with ExitStack() as stack:
        paths = [folder / f"units.{ending}" for ending in endings]
        files = [stack.enter_context(path.open("w", encoding="utf-8", newline="\n")) for path in paths]
        files[1].write(_checked(info.root) + "\n")
        for item in items:
            if not item.whole:
                raise DataError(
                    f"{item.id!r}: a segment or command cannot stand in a fairseq manifest; use jsonl or text"
                )
            path = os.path.relpath(item.audio, info.root)
            columns = [item.units.text(), f"{_checked(path)}\t{item.num_samples}", item.id]
            if info.merged:
                columns.append(" ".join(map(str, item.units.durations.tolist())))
            for file, column in zip(files, columns, strict=True):
                file.write(column + "\n")
    dictionary = "".join(f"{unit} 1\n" for unit in range(info.size))
    (folder / "dict.km.txt").write_text(dictionary, encoding="utf-8", newline="\n")


def read(folder: Path, info: Info) -> Iterator[tuple[str, Units]]:
    """Units by line; the files must have the same number of lines."""
    columns = [lines(folder / f"units.{ending}") for ending in ("ids", "km", "tsv")]
    next(columns[2], None)  # the root
    durations = lines(folder / "units.dur") if info.merged else None
    try:
        for (_, name), (number, text), _ in zip(*columns, strict=True):
            ids = integers(text, f"{folder / 'units.km'}:{number}")
            held = np.ones_like(ids)
            if durations is not None:
                held = integers(next(durations, (0, ""))[1], f"{folder / 'units.dur'}:{number}")
            yield name, Units(ids, held, info.rate_hz, info.size)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{folder}: units.km, units.tsv and units.ids have different numbers of lines") from None


def refuse(utterance_id: str) -> str | None:
    """An id is a line."""
    if any(c in utterance_id for c in "\n\r"):
        return "contains a line break, which this format cannot hold"
    return None


def needs() -> None:
    """Nothing optional."""


def _checked(path: str) -> str:
    if any(c in path for c in "\t\n\r") or not path.isprintable():
        raise DataError(f"path {path!r} holds characters that a fairseq manifest cannot; use jsonl or text")
    return path
