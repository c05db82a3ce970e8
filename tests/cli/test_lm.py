"""`speechssl lm`: trained, measured, refused."""

import json
import math
from pathlib import Path

import pytest

from speechssl.cli import main
from speechssl.decoders.arpa import read_arpa
from speechssl.decoders.ngram_fit import fit_ngrams


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("u1 ab Ba  ab\nu2\tba\nu3\nu4 ab e\u0301\n")
    return path


def train(text: Path, *words: str) -> Path:
    path = text.with_name("lm.arpa")
    assert main(["lm", "train", str(text), "-o", str(path), *words]) == 0
    return path


def test_words(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = train(text, "--ids", "--order", "2", "--case", "lower", "--json")
    row = json.loads(capsys.readouterr().out)
    expected = fit_ngrams([["ab", "ba", "ab"], ["ba"], ["ab", "é"]], order=2).model
    found = read_arpa(path)
    assert set(found.words) == set(expected.words) and row["ngrams"] == [len(grams) for grams, _, _ in expected.tables]
    assert (row["sentences"], row["tokens"], row["order"]) == (3, 9, 2)
    assert found.sentence(["ab", "ba"]) == pytest.approx(expected.sentence(["ab", "ba"]), abs=1e-5)
    assert main(["lm", "score", str(path), str(text), "--ids", "--case", "lower", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    total = sum(expected.sentence(words) for words in (["ab", "ba", "ab"], ["ba"], ["ab", "é"]))
    assert score["perplexity"] == pytest.approx(math.exp(-total / 9), rel=1e-5) and score["unknown"] == 0


def test_characters(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = train(text, "--ids", "--unit", "char", "--boundary", "_", "--order", "9")
    assert {"a", "b", "B", "_", "é"} == set(read_arpa(path).words) - {"<s>", "</s>", "<unk>"}
    assert read_arpa(path).order == 9
    told = capsys.readouterr().out
    assert "n-grams of chars, from" in told and "too little text for discounts of order 2, 3" in told
    train(text, "--ids", "--unit", "char", "--order", "12", "--overwrite")
    assert "no sentence has 12 chars with its ends: the order is 10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--order", "0"], "--order 0"),
        (["--order", "13"], "--order 13"),
        (["--unit", "char", "--boundary", "ab"], "one character"),
        (["--unit", "char", "--boundary", "a"], "text:1: 'a' stands in the text"),
        ([], "exists already"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: list[str], message: str, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not words:
        train(text)
    assert main(["lm", "train", str(text), "-o", str(text.with_name("lm.arpa")), "--ids", *words]) == 2
    assert message in capsys.readouterr().err


def test_no_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("\n\n")
    assert main(["lm", "train", str(tmp_path / "text"), "-o", str(tmp_path / "lm")]) == 2
    assert "no word in the text" in capsys.readouterr().err and not (tmp_path / "lm").exists()
