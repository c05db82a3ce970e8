"""Units and texts as targets, joined to speech by id."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speechssl.data.corpus import Corpus
from speechssl.data.sequences import read_texts, read_units, with_targets, with_task
from speechssl.data.training_set import TrainingSet
from speechssl.data.utterance import Utterance
from speechssl.errors import DataError


def training_set(*texts: str | None) -> TrainingSet:
    rows = tuple(Utterance(f"u{i}", f"u{i}.wav", text=text) for i, text in enumerate(texts))
    return TrainingSet(Corpus(rows, "files", "here"), 16000, np.full(len(rows), 2.0))


def output(folder: Path, *, merged: bool = False, formats: str = "text") -> Path:
    """A finished output of `speechssl units`, as far as it matters."""
    folder.mkdir()
    card = {"rate_hz": 50.0, "model": {"num_units": 20, "unit_model": "abc"},
            "outputs": [{"format": formats, "merged": merged}]}  # fmt: skip
    (folder / "units.json").write_text(json.dumps(card))
    (folder / "units").write_text("u0 3 3 17 17 3\nu1\nu2 4\n")
    return folder


def test_units_of_a_folder_know_where_they_come_from(tmp_path: Path) -> None:
    found = read_units(output(tmp_path / "out"))
    assert {name: units.tolist() for name, units in found.of.items()} == {"u0": [3, 17, 3], "u1": [], "u2": [4]}
    assert (found.size, found.rate_hz, found.model_sha256, found.reduced) == (20, 50.0, "abc", True)
    assert read_units(tmp_path / "out", reduced=False).of["u0"].tolist() == [3, 3, 17, 17, 3]
    file = tmp_path / "units.txt"
    file.write_text("u0 3 3 17\n")
    assert read_units(file).size == 18 and read_units(file, size=30).size == 30


def test_units_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    merged, other = output(tmp_path / "merged", merged=True), output(tmp_path / "other", formats="npz")
    assert read_units(merged).of["u2"].tolist() == [4]
    (tmp_path / "bad.txt").write_text("u0 1\nu1 x\n")
    (tmp_path / "negative.txt").write_text("u0 -1\n")
    for call, words in (
        (lambda: read_units(merged, reduced=False), "merged"), (lambda: read_units(other), "--format text"),
        (lambda: read_units(merged, size=7), "20, not of 7"), (lambda: read_units(tmp_path), "not a finished output"),
        (lambda: read_units(tmp_path / "bad.txt"), "bad.txt:2"),
        (lambda: read_units(tmp_path / "negative.txt"), "negative"),
        (lambda: read_units(merged / "units", size=17), "unit 17 is not below 17"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=words):
            call()


def test_utterances_without_a_usable_target_are_counted_with_reasons() -> None:
    data = training_set("a", "b", "c", "d")
    data = replace(data, seconds=np.array([2.0, 2.0, 9.0, 0.0]))
    targets = {"u0": np.array([1, 2]), "u1": np.array([1] * 9), "u2": np.array([1]), "u3": np.array([1])}
    found = with_targets(data, targets, most=5, longest_s=5.0)
    assert found.seconds.tolist() == [2, 0, 0, 0] and found.targets is not None
    assert found.targets.of(0).tolist() == [1, 2] and not len(found.targets.of(1))
    assert [name for name, _ in found.failures] == ["u1", "u2"]
    assert "9 symbols" in found.failures[0][1] and "crop_s" in found.failures[1][1]
    with pytest.raises(DataError, match=r"none of 4 utterances has a usable target .*no target"):
        with_targets(data, {}, most=5, longest_s=50.0)


def test_texts_come_from_the_corpus_or_a_file(tmp_path: Path) -> None:
    def encode(text: str) -> list[int]:
        if "x" in text:
            raise DataError("no x")
        return [ord(letter) - 96 for letter in text]

    data = training_set("ab", "x", None)
    found, refused = read_texts(data.corpus, encode)
    assert found["u0"].tolist() == [1, 2] and not len(found["u2"]) and refused == [("u1", "no x")]
    joined = with_targets(data, found, most=9, longest_s=9.0, what="text", refused=refused)
    assert joined.failures == (("u1", "no x"), ("u2", "no text"))
    file = tmp_path / "text"
    file.write_text("u2 ba\nu9 a\n")
    task = with_task(joined, "other", read_texts(file, encode)[0])
    assert task.tasks["other"].of(2).tolist() == [2, 1] and not len(task.tasks["other"].of(0))
    assert task.tasks["other"].padded(np.array([0, 2])).tolist() == [[-1, -1], [2, 1]]
