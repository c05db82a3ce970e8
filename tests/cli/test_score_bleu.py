"""`speechssl score bleu`: sacrebleu's numbers, what is missing, what is refused."""

import json
import math
from pathlib import Path

import pytest

from speechssl import cli

pytest.importorskip("sacrebleu")


def score(tmp_path: Path, found: str, right: str, *options: str) -> tuple[int, dict]:
    (tmp_path / "hyp").write_text(found, encoding="utf-8")
    (tmp_path / "ref").write_text(right, encoding="utf-8")
    code = cli.main(["score", "bleu", str(tmp_path / "hyp"), str(tmp_path / "ref"), *options, "--draws", "20", "-o",
                     str(tmp_path / "row.json")])  # fmt: skip
    return code, json.loads((tmp_path / "row.json").read_text()) if code < 2 else {}


def test_unit_bleu_is_the_geometric_mean_of_ngram_precisions_over_merged_runs(tmp_path: Path) -> None:
    code, row = score(tmp_path, "a 1 1 2 3 4 9\n", "a 1 2 2 3 4 5 5\n", "--units")
    expected = 100 * math.exp((math.log(4 / 5) + math.log(3 / 4) + math.log(2 / 3) + math.log(1 / 2)) / 4)
    assert code == 0 and row["bleu"]["score"] == pytest.approx(expected)
    assert row["bleu"]["length_ratio"] == 1
    assert "tok:none" in row["bleu"]["signature"] and "chrf" not in row


def test_texts_are_normalised_on_both_sides_and_what_is_missing_counts_as_empty(tmp_path: Path) -> None:
    right = "a Le chat, dort ici enfin.\nb Un chien court très vite\n"
    found = "a le CHAT dort ici enfin\nb Un chien court très vite !\n"
    code, row = score(tmp_path, found, right, "--case", "lower", "--punctuation", "remove")
    assert code == 0 and row["bleu"]["score"] == pytest.approx(100) and row["chrf"]["score"] == pytest.approx(100)
    code, lower = score(tmp_path, found, right)
    assert code == 0 and lower["bleu"]["score"] < 90
    code, lacking = score(tmp_path, found.split("\n")[0] + "\nz x\n", right, "--case", "lower")
    assert code == 1 and (lacking["missing"], lacking["extra"], lacking["empty"]) == (1, 1, 1)
    assert lacking["bleu"]["length_ratio"] == pytest.approx(5 / 12)
    assert (
        lacking["bleu"]["score"] < 60 and lacking["chrf"]["low"] == 0 < lacking["chrf"]["high"]
    )  # the brevity penalty of an empty one


def test_nothing_in_common_and_options_without_effect_are_errors(tmp_path: Path) -> None:
    assert score(tmp_path, "a 1\n", "b 1\n", "--units")[0] == 2
    assert score(tmp_path, "a 1\n", "a 1\n", "--units", "--case", "lower")[0] == 2
    assert score(tmp_path, "a one\n", "a 1\n", "--units")[0] == 2
