"""Files of pieces give the pieces back, and refuse what is not theirs."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from speechssl.errors import DataError
from speechssl.units import Units
from speechssl.units.piece_files import read_pieces, write_jsonl, write_text
from speechssl.units.piece_training import train
from speechssl.units.pieces import PieceModel, Pieces

A, B, C, D = range(4)


def units(*ids: int, durations: list[int] | None = None) -> Units:
    array = np.array(ids, np.int64)
    return Units(array, np.array(durations or np.ones(len(ids)), np.int64), 50.0, 4)


@pytest.fixture(scope="module")
def model() -> PieceModel:
    """AB is piece 1, ABC piece 2."""
    return train([units(A, B, A, B, C, A, B, D)], num_pieces=7, num_units=4, rate_hz=50.0)


@pytest.fixture
def rows(model: PieceModel) -> list[tuple[str, Pieces]]:
    timed = units(A, B, D, A, B, C, durations=[3, 1, 4, 1, 5, 9])
    return [("u", model.encode(timed)), ("empty", model.encode(units())), ("ü", model.encode(units(C)))]


def same(one: Pieces, other: Pieces) -> bool:
    return all(np.array_equal(getattr(one, x), getattr(other, x)) for x in ("ids", "lengths", "durations"))


def test_jsonl_is_what_the_documentation_shows(rows: list, model: PieceModel, tmp_path: Path) -> None:
    path = tmp_path / "pieces.jsonl"
    write_jsonl(path, rows, model)
    first = json.loads(path.read_text(encoding="utf-8").split("\n")[0])
    (d,) = (piece for piece in range(1, 7) if model.spelling(piece).tolist() == [D])
    assert first == {"id": "u", "pieces": [1, d, 2], "durations": [[3, 1], [4], [1, 5, 9]], "rate_hz": 50.0,
                     "num_pieces": 7, "model": model.card.sha256[:16]}  # fmt: skip
    for file in (path, tmp_path / "pieces.jsonl.gz"):
        if not file.exists():
            file.write_bytes(gzip.compress(path.read_bytes()))
        read = list(read_pieces(file, model))
        assert [(name, timed) for name, _, timed in read] == [("u", True), ("empty", True), ("ü", True)]
        assert all(same(found, pieces) for (_, found, _), (_, pieces) in zip(read, rows, strict=True))


def test_text_gives_units_of_one_frame_each(rows: list, model: PieceModel, tmp_path: Path) -> None:
    path = tmp_path / "pieces.txt"
    write_text(path, rows)
    assert path.read_text(encoding="utf-8").split("\n")[1] == "empty"
    read = list(read_pieces(path, model))
    assert [(name, timed) for name, _, timed in read] == [("u", False), ("empty", False), ("ü", False)]
    assert model.decode(read[0][1]) == units(A, B, D, A, B, C)
    with pytest.raises(DataError, match="'two words' holds white space"):
        write_text(path, [("two words", rows[0][1])])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "u", "pieces": [1], "durations": [[1]]}', "a list for each piece, with a number for each"),
        ('{"id": "u", "pieces": [1], "durations": [[1, 0]]}', "durations must be positive"),
        ('{"id": "u", "pieces": [1], "durations": [[1, 99999999]]}', "16777216 frames at the most"),
        ('{"id": "u", "pieces": [1], "durations": [[1, 1.5]]}', "whole numbers"),
        ('{"id": "u", "pieces": [1], "durations": 7}', "not a line of pieces"),
        ('{"id": "u", "pieces": [true]}', "whole numbers"),
        ('{"id": "u", "pieces": "1"}', "whole numbers"),
        ('{"id": "u", "pieces": [7]}', r": piece ids must lie in 1\.\.6, found 7"),
        ('{"id": "u", "pieces": [0]}', r": piece ids must lie in 1\.\.6"),
        ('{"id": "u", "units": [0]}', "'pieces'"),
        ('{"id": 3, "pieces": [1]}', "its id is no text"),
        ('{"pieces": [1]}', "'id'"),
        ('{"id": "u", "pieces": [1], "num_pieces": 8}', "num_pieces is 8, and 7 of the model given"),
        ('{"id": "u", "pieces": [1], "model": "abc"}', "pieces of another model"),
        ('{"id": "u", "pieces": [1], "rate_hz": 100}', "rate_hz is 100"),
        ('{"id": "u"', "not a line of pieces"),
        ('{"a":' * 100_000, "not a line of pieces"),
        ("u 1", "not a line of pieces"),
        ("3", "no object"),
        ("u 1 x", r"must lie in 1\.\.6, found -1"),
        ("u -1", r"must lie in 1\.\.6"),
        ("u " + "9" * 30, "not a line of pieces"),
    ],
)
def test_what_is_no_line_of_pieces_is_refused(line: str, message: str, model: PieceModel, tmp_path: Path) -> None:
    path = tmp_path / "pieces"
    first = "a 1" if message.startswith("must") or "999" in line[:10] else '{"id": "a", "pieces": [1]}'
    path.write_text(f"{first}\n{line}\n")
    with pytest.raises(DataError, match=message) as error:
        list(read_pieces(path, model))
    assert f"{path}:2: " in str(error.value)
