"""Single files of units: what they say, what must be said, what is refused."""

import gzip
from pathlib import Path

import pytest

from speechssl.errors import DataError
from speechssl.metrics.unit_files import read_unit_file


def read(path: Path, **stated: float) -> tuple[int, float, dict[str, list[int]]]:
    size, rate, rows = read_unit_file(path, **stated)  # type: ignore[arg-type]
    return size, rate, {name: ids.tolist() for name, ids in rows}


def test_jsonl_says_everything_and_durations_are_spread_out(tmp_path: Path) -> None:
    path = tmp_path / "units.jsonl.gz"
    lines = '{"id": "a b", "units": [3, 1], "durations": [2, 1], "rate_hz": 50.0, "num_units": 4}\n'
    path.write_bytes(gzip.compress((lines + '{"id": "c", "units": [], "rate_hz": 50.0, "num_units": 4}\n').encode()))
    assert read(path) == (4, 50.0, {"a b": [3, 3, 1], "c": []})
    assert read(path, num_units=4, unit_rate=50)[0] == 4
    with pytest.raises(DataError, match="says num_units 4, not 5"):
        read(path, num_units=5)


def test_text_needs_size_and_rate_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "units"
    path.write_text("u 3 3 1\nv\n")
    assert read(path, num_units=4, unit_rate=50) == (4, 50.0, {"u": [3, 3, 1], "v": []})
    with pytest.raises(DataError, match="give --unit-rate"):
        read(path, num_units=4)
    with pytest.raises(DataError, match="give --num-units"):
        read(path, unit_rate=50)


@pytest.mark.parametrize("name", ["{", "{a}", "{1", "{a:1}", "{[", "{{}}"])
def test_an_id_that_begins_with_a_brace_is_no_json(name: str, tmp_path: Path) -> None:
    path = tmp_path / "units"
    path.write_text(f"\n{name} 3 3 1\nv 2\n")
    assert read(path, num_units=4, unit_rate=50) == (4, 50.0, {name: [3, 3, 1], "v": [2]})


@pytest.mark.parametrize("line", ['{"id":"u","units":[1, 2', '{"a 1 2', "{}x 3 3", '{ "id": "u", "units": [1], '])
def test_what_begins_as_json_is_never_read_as_text(line: str, tmp_path: Path) -> None:
    path = tmp_path / "units"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match="begins as JSON does"):
        read(path, num_units=4, unit_rate=50)


def test_json_may_have_blanks_after_the_brace(tmp_path: Path) -> None:
    path = tmp_path / "units"
    path.write_text('{  "id": "u", "units": [1, 2]}\n')
    assert read(path, num_units=4, unit_rate=50)[2] == {"u": [1, 2]}


@pytest.mark.parametrize(
    "content",
    [
        "u 3 x\n",
        "u -3\n",
        '{"id": "u", "units": [0.5]}\n',
        '{"id": "u", "units": [true]}\n',
        '{"id": "u", "units": [99999999999]}\n',
        '{"id": "u", "units": [1], "durations": [0]}\n',
        '{"id": "u", "units": [1], "durations": [1, 1]}\n',
        '{"id": 3, "units": [1]}\n',
        '{"units": [1]}\n',
        '{"id": "u", "units": [1]}\n[]\n',
        '{"id": "u", "units": [1]}\n{"id": "v", "units": [1], "rate_hz": 25}\n',
        "{\n",
        '{"a":' * 100_000 + "\n",
    ],
)
def test_broken_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "units"
    path.write_text(content)
    with pytest.raises(DataError, match=str(path)):
        read(path, num_units=4, unit_rate=50)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for content in (b"\xff\xfe", gzip.compress(b"u 1 1\n" * 1000)[:30]):
        (tmp_path / "units").write_bytes(content)
        with pytest.raises(DataError, match="not readable"):
            read(tmp_path / "units", num_units=4, unit_rate=50)
