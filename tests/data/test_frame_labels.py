"""Labels per frame from a file and from an output folder of `speechssl units`."""

import json
from pathlib import Path
from typing import Any

import pytest

from speechssl.data.frame_labels import FrameLabels
from speechssl.errors import DataError

CARD: dict[str, Any] = {
    "rate_hz": 50.0,
    "model": {"num_units": 9},
    "outputs": [{"format": "jsonl", "merged": True}, {"format": "text", "merged": False}],
}


def write(folder: Path, text: str = "a 3 1 1\nb 0\n", **card: Any) -> Path:
    folder.mkdir()
    (folder / "units").write_text(text)
    (folder / "units.json").write_text(json.dumps({**CARD, **card}))
    return folder


def test_labels_come_in_the_order_of_the_corpus(tmp_path: Path) -> None:
    labels = FrameLabels.read(write(tmp_path / "units") / "units", ["b", "none", "a"], 50.0)
    assert [labels.of(row).tolist() for row in range(3)] == [[0], [], [3, 1, 1]]
    assert labels.counts.tolist() == [1, 0, 3] and labels.size == 4


def test_labels_of_a_folder_are_as_many_as_its_codebook_has(tmp_path: Path) -> None:
    """Units that did not occur are labels all the same: the next model can be compared unit by unit."""
    assert FrameLabels.read(write(tmp_path / "units"), ["a", "b"], 50.0).size == 9


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rate_hz": 25.0}, "25.0 Hz"), ({"outputs": [{"format": "text", "merged": True}]}, "--dedup"),
        ({"model": {}}, "num_units"), ({"text": "a 1 -2\n"}, "negative"), ({"text": "a x\n"}, "integers"),
        ({"text": "c 1\n"}, "none of the 2"),
    ],
)  # fmt: skip
def test_what_is_no_label_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        FrameLabels.read(write(tmp_path / "units", **change), ["a", "b"], 50.0)
