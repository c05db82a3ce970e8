"""Files of pieces.

jsonl   {"id": "utt", "pieces": [205, 7], "durations": [[3, 1], [2]], "rate_hz": 50.0, "num_pieces": 1000, "model": "…"}
text    utt 205 7

`durations` are the frames of the units in each piece: a piece lasts as long as their sum. `model` begins the sha256 of
pieces.model. Text is what language models want; it has no durations. Read back, gzipped or not, pieces without
durations give units of one frame each.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.errors import DataError
from speechssl.metrics.alignments import open_text
from speechssl.units.pieces import PieceModel, Pieces
from speechssl.units.units import MOST_FRAMES

_MODEL_DIGITS = 16
_MOST = 2**31

Row = tuple[str, Pieces, bool]


def write_jsonl(path: Path, utterances: Iterable[tuple[str, Pieces]], model: PieceModel) -> None:
    """Everything that `read_pieces` needs to give the same pieces back."""
    fixed = {"rate_hz": model.card.rate_hz, "num_pieces": model.card.num_pieces,
             "model": model.card.sha256[:_MODEL_DIGITS]}  # fmt: skip
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for name, pieces in utterances:
            durations, ends = pieces.durations.tolist(), np.cumsum(pieces.lengths).tolist()
            nested = [durations[start:end] for start, end in zip([0, *ends], ends, strict=False)]
            row = {"id": name, "pieces": pieces.ids.tolist(), "durations": nested, **fixed}
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_text(path: Path, utterances: Iterable[tuple[str, Pieces]]) -> None:
    """Ids of pieces only. DataError for utterance ids that cannot be a word of a line."""
    from speechssl.units.formats.text import line, refuse

    with path.open("w", encoding="utf-8", newline="\n") as file:
        for name, pieces in utterances:
            if reason := refuse(name):
                raise DataError(f"utterance {name!r} {reason}: use jsonl")
            file.write(line(name, pieces.ids))


def read_pieces(path: Path, model: PieceModel) -> Iterator[Row]:
    """Id, pieces, and whether the file has their durations, line by line. Raises DataError with file and line."""
    try:
        with open_text(path) as file:
            row = None
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = row or (_json_row if line.startswith("{") else _text_row)  # the first line decides
                    yield _row(row, line, model, f"{path}:{number}")
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable as text: {error}") from error


def _row(row: Callable[[str, PieceModel], Row], line: str, model: PieceModel, where: str) -> Row:
    try:
        return row(line, model)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise DataError(f"{where}: not a line of pieces: {error}") from error


def _text_row(line: str, model: PieceModel) -> Row:
    name, *words = line.split()
    return name, model.untimed(int(word) if word.isdecimal() else -1 for word in words), False


def _json_row(line: str, model: PieceModel) -> Row:
    row = json.loads(line)
    if not isinstance(row, dict) or not isinstance(row["id"], str):
        raise DataError("no object, or its id is no text")
    _check(row, model)
    pieces = model.untimed(_integers(row["pieces"]))
    return (row["id"], _timed(pieces, row["durations"]), True) if "durations" in row else (row["id"], pieces, False)


def _check(row: dict[str, Any], model: PieceModel) -> None:
    card = model.card
    stated = {"rate_hz": card.rate_hz, "num_pieces": card.num_pieces, "model": card.sha256[:_MODEL_DIGITS]}
    for key, value in stated.items():
        if row.get(key, value) != value:
            raise DataError(f"{key} is {row[key]!r:.80}, and {value!r} of the model given: pieces of another model")


def _timed(pieces: Pieces, nested: Any) -> Pieces:
    """The same with the file's durations."""
    lengths = [len(one) for one in nested]
    if lengths != pieces.lengths.tolist():
        raise DataError("durations must be a list for each piece, with a number for each of its units")
    durations = np.array(_integers([frames for one in nested for frames in one]), np.int64)
    if (durations < 1).any() or durations.sum() > MOST_FRAMES:
        raise DataError(f"durations must be positive, {MOST_FRAMES} frames at the most in all")
    return Pieces(pieces.ids, pieces.lengths, durations, pieces.rate_hz, pieces.size)


def _integers(values: Any) -> list[int]:
    if not isinstance(values, list) or not all(type(value) is int and abs(value) < _MOST for value in values):
        raise DataError("expected a list of whole numbers")
    return values
