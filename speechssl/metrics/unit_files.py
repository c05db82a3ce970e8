"""Units in a single file: what `speechssl units -o -` prints, and what other tools write.

jsonl   {"id" or "name": "utt", "units": [3, 3, 17], "durations": [...]?, "rate_hz": 50.0?, "num_units": 100?}
text    utt 3 3 17

Gzipped or not. One unit per frame, unless durations say how many frames each is held. The first line tells which it is:
jsonl where it begins as a JSON object does, with a brace and then (after blanks, perhaps) a quote or the other brace.
An id in text has no blanks, so `{a}` and `{1` are ids; one that begins with `{"` or `{}` can stand first in jsonl only.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechssl.errors import DataError
from speechssl.metrics.alignments import begins_object, open_text

_MOST_FRAMES = 1 << 24  # of one utterance: 93 hours at 50 Hz
_MOST_UNITS = 1 << 24


def read_unit_file(
    path: Path, *, num_units: int | None = None, unit_rate: float | None = None, any_rate: bool = False
) -> tuple[int, float, Iterator[tuple[str, NDArray[np.int64]]]]:
    """Codebook size, rate (Hz) and (id, units [T]) pairs; size and rate come from the file, else from the arguments.

    any_rate: the rate plays no part; 1 where the file does not say it.
    Raises DataError where neither knows them, where both do and differ, and for lines that break the format.
    """
    try:
        with open_text(path) as file:
            first = next((line for line in file if line.strip()), "")
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable as text: {error}") from error
    is_json = begins_object(first)
    row = _json(path, 1, first) if is_json else {}
    unit_rate = row.get("rate_hz", 1.0) if any_rate else unit_rate
    stated: list[Any] = []
    for key, given, option in (("num_units", num_units, "--num-units"), ("rate_hz", unit_rate, "--unit-rate")):
        value = row.get(key, given)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST_UNITS:
            raise DataError(f"{path}: does not say its {key}; give {option}")
        if given is not None and given != value:
            raise DataError(f"{path}: says {key} {value}, not {given}")
        stated.append(value)
    return int(stated[0]), float(stated[1]), _rows(path, is_json, {"num_units": stated[0], "rate_hz": stated[1]})


def _rows(path: Path, is_json: bool, stated: dict[str, float]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _json_row(path, number, line, stated) if is_json else _text_row(path, number, line)
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable as text: {error}") from error


def _json_row(path: Path, number: int, line: str, stated: dict[str, float]) -> tuple[str, NDArray[np.int64]]:
    row = _json(path, number, line)
    name = row.get("id", row.get("name"))
    if not isinstance(name, str) or any(row.get(key, value) != value for key, value in stated.items()):
        raise DataError(f"{path}:{number}: no id, or another num_units or rate_hz than the first line's")
    ids = _integers(row.get("units"), f"{path}:{number}")
    if "durations" not in row:
        return name, ids
    durations = _integers(row["durations"], f"{path}:{number}")
    if durations.shape != ids.shape or (durations < 1).any() or durations.sum() > _MOST_FRAMES:
        raise DataError(f"{path}:{number}: durations must be one positive number for each unit, of one utterance")
    return name, np.repeat(ids, durations)


def _text_row(path: Path, number: int, line: str) -> tuple[str, NDArray[np.int64]]:
    name, *words = line.split()
    if not all(word.isdecimal() and len(word) < 19 for word in words):
        raise DataError(f"{path}:{number}: expected `id unit unit ...`, found {line.rstrip()[:60]!r}")
    return name, _integers([int(word) for word in words], f"{path}:{number}")


def _integers(values: Any, where: str) -> NDArray[np.int64]:
    if not isinstance(values, list) or not all(type(value) is int and abs(value) < 2**31 for value in values):
        raise DataError(f"{where}: expected a list of whole numbers")
    return np.array(values, np.int64)


def _json(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number}: begins as JSON does, but is no JSON object: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}:{number}: not a JSON object")
    return row
