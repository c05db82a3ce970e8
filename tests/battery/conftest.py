"""Totals of the batteries: what was tried and what came of it, one line each for `python tools/battery.py`."""

import json
import os
from collections.abc import Callable

import pytest

Record = Callable[..., None]


@pytest.fixture
def record() -> Record:
    """`record("what was tried", tried=80, crashed=0)`: a line of the table, written when the test calls it.

    Call it before the assertions, so that a failure shows its figures too.
    """

    def write(what: str, **figures: int | float | str) -> None:
        line = json.dumps({"what": what, "figures": figures}, ensure_ascii=False)
        print(line)
        if path := os.environ.get("SPEECHSSL_BATTERY_TOTALS"):
            with open(path, "a", encoding="utf-8") as file:
                file.write(line + "\n")

    return write
