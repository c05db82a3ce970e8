"""`speechssl score wer`: the numbers, what is reported as missing, what is refused."""

import json
from pathlib import Path

import pytest

from speechssl.cli import main

REF = "u1 a b c d\nu2 a b\nu3 Été, là\nu4\n"
HYP = "u2 a b\nu1 a b x d\nu3 e\u0301te\u0301 la\nu4 oh\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "hyp").write_text(HYP)
    (tmp_path / "ref").write_text(REF)
    return str(tmp_path / "hyp"), str(tmp_path / "ref")


def score(*words: str) -> int:
    return main(["score", "wer", *words])


def test_the_example_by_hand(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """u1: one of four replaced; u3: two of two, and one with rules; u4: one put in where nothing was said."""
    assert score(*files, "--json", "-o", str(tmp_path / "out.json")) == 0
    row = json.loads(capsys.readouterr().out)
    assert row == json.loads((tmp_path / "out.json").read_text())
    wer = row["wer"]
    assert (wer["errors"], wer["reference"], wer["substitutions"], wer["insertions"]) == (4, 8, 3, 1)
    assert wer["rate"] == 0.5 and 0 <= wer["low"] <= 0.5 <= wer["high"]
    assert row["cer"]["reference"] == 7 + 3 + 7 and row["cer"]["errors"] == 1 + 3 + 2
    assert (row["utterances"], row["wrong_utterances"], row["empty_references"]) == (4, 3, 1)
    assert row["worst"][0] == {"id": "u3", "errors": 2, "words": 2, "pairs": [["Été,", "été"], ["là", "la"]]}
    assert score(*files, "--case", "lower", "--punctuation", "remove", "--json") == 0
    assert json.loads(capsys.readouterr().out)["wer"]["errors"] == 3


def test_what_people_read(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "utt2spk").write_text("u1 s1\nu2 s1\nu3 s2\nu4 s3\n")
    assert score(*files, "--speakers", str(tmp_path / "utt2spk"), "--resample", "speakers") == 0
    text = capsys.readouterr().out
    assert "WER     50.00 % [95 %: " in text and "4 errors of 8: 3 substitutions, 0 deletions, 1 insertions" in text
    assert "  s1                   WER  16.67 %  CER  10.00 %  6 words in 2 utterances" in text
    assert "  s3                   WER undefined %" in text and "wrong   3 of 4 utterances" in text
    assert "both sides: NFC, single spaces, case keep, punctuation keep; 1000 draws of speakers, seed 0" in text
    assert "u1: 1 errors, 4 words\n  ref a b c d\n  hyp a b x d" in text
    assert "u4: 1 errors, 0 words\n  ref **\n  hyp oh" in text


def test_two_systems(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hyp2").write_text("u1 a b c d\nu2 a b\nu3 Été, là\nu4\n")
    assert score(*files, "--other", str(tmp_path / "hyp2"), "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["other"]["wer"]["errors"] == 0
    found = row["difference"]["wer"]
    assert found["difference"] == 0.5 and found["low"] >= 0 and found["share_better"] < 0.05
    assert score(str(tmp_path / "hyp2"), files[1], "--other", files[0]) == 0
    assert "WER - other  -50.00 points" in capsys.readouterr().out


def test_missing_extra_and_double_utterances_are_told_and_not_scored(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[0]).write_text("u1 a b c d\nu3 x\nu3 y\nu9 z\n")
    assert score(*files, "--json") == 1
    row = json.loads(capsys.readouterr().out)
    assert row["not_scored"] == {"missing": 2, "extra": 1, "duplicate": 1} and row["utterances"] == 1
    assert row["examples"] == {"missing": ["u2", "u4"], "extra": ["u9"], "duplicate": ["u3"]}
    assert score(*files, "--allow-missing") == 0
    assert "not scored: 2 without a hypothesis, for example u2, u4" in capsys.readouterr().out
    assert score(*files, "--count-missing", "--json") == 1
    row = json.loads(capsys.readouterr().out)
    assert row["wer"]["deletions"] == 2 and row["not_scored"]["missing"] == 0


@pytest.mark.parametrize(
    ("hyp", "words", "message"),
    [
        ("x a\n", [], "nothing to score"),
        (HYP, ["--resample", "speakers"], "needs --speakers"),
        (HYP, ["--speakers", "utt2spk"], "3 utterances without a speaker, for example u2"),
        (HYP, ["--draws", "0"], "0 draws"),
        (HYP, ["--worst", "-1"], "--worst -1"),
        ("\n", [], "hyp:1: empty line"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    hyp: str, words: list[str], message: str, files: tuple[str, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("utt2spk").write_text("u1 s1\n")
    Path(files[0]).write_text(hyp)
    assert score(*files, *words) == 2
    assert message in capsys.readouterr().err


def test_only_empty_references_have_no_rate(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[1]).write_text("u4\n")
    assert score(*files, "--json", "--allow-missing") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["wer"]["rate"] is None and row["wer"]["low"] is None and row["wer"]["insertions"] == 1
