"""JSON rows with values of any kind in any place; damaged bytes are in tests/battery/test_mutations.py."""

import json
from pathlib import Path

import pytest

from speechssl.data.corpus import open_corpus
from speechssl.errors import DataError
from tests.battery.readers_data import CUT, NEMO, OURS, RECORDING


@pytest.mark.parametrize("row", [OURS, NEMO, RECORDING, CUT], ids=["ours", "nemo", "recording", "cut"])
def test_rows_with_values_of_any_kind_raise_data_error_only(tmp_path: Path, row: dict[str, object]) -> None:
    values: list[object] = [
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "x",
        [],
        {},
        [{}],
        [[]],
        {"a": []},
        10**400,
        "\ud800",
        "a" * 5000,
    ]
    path = tmp_path / "x.jsonl"

    def variants(value: object) -> list[object]:
        """The value replaced by each of `values`, at any depth."""
        found = list(values)
        if isinstance(value, dict):
            found += [{**value, key: v} for key in value for v in variants(value[key])]
        elif isinstance(value, list):
            found += [[*value[:i], v, *value[i + 1 :]] for i in range(len(value)) for v in variants(value[i])]
        return found

    for variant in variants(row):
        path.write_text(json.dumps(variant) + "\n")
        try:
            open_corpus(path)
        except DataError:
            continue
