"""`speechssl score durations` and `score zipf`: the numbers, what is missing, what is refused."""

import json
from pathlib import Path

import pytest

from speechssl.cli import main

UNITS = "u 0 0 1 2\nv 2 2 2 0\n"
PHONES = "u\t0.0\t0.04\ta\nu\t0.04\t0.08\tb\nv\t0.0\t0.08\ta\nv\t0.08\t0.08\tb\n"
KNOWN = ["--num-units", "4", "--unit-rate", "50"]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "units.txt").write_text(UNITS)
    (tmp_path / "phones.tsv").write_text(PHONES)
    return str(tmp_path / "units.txt"), str(tmp_path / "phones.tsv")


def test_durations_by_hand(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Worked out in tests/metrics/test_durations.py; three phones of 40, 40 and 80 ms beside five runs."""
    units, phones = files
    out = tmp_path / "new" / "durations.json"
    command = ["score", "durations", units, *KNOWN]
    assert main([*command, "--phones", phones, "--json", "-o", str(out)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row == json.loads(out.read_text())
    assert row["units"]["mean_ms"] == 32 and row["units"]["one_frame"] == 0.6
    assert row["frames"] == {"1": 3, "2": 1, "3": 1}
    assert row["by_unit"]["2"]["mean_ms"] == 40 and row["by_unit"]["1"]["one_frame"] == 1 and "3" not in row["by_unit"]
    assert row["phones"]["mean_ms"] == pytest.approx(160 / 3) and row["phones"]["median_ms"] == 40
    assert row["by_phone"]["a"]["longest_ms"] == 80 and row["by_phone"]["b"]["count"] == 1
    assert (row["units_per_phone"], row["phones_without_length"]) == (pytest.approx(5 / 3), 1)
    assert main([*command, "--phones", phones]) == 0
    text = capsys.readouterr().out
    assert "mean                32.0        53.3" in text and "not counted: 1 phones without length" in text
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "phones" not in text and "1                      3     60.00 %" in text


def test_missing_utterances_change_the_exit_code(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    units, phones = files
    Path(phones).write_text(PHONES.replace("v\t", "w\t"))
    command = ["score", "durations", units, *KNOWN, "--phones", phones]
    assert main(command) == 1
    text = capsys.readouterr().out
    assert "1 utterances without an alignment, 1 alignments without units, for example v, w" in text
    assert main([*command, "--allow-missing", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["units"]["count"] == 3


def test_what_cannot_be_scored_is_refused(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    units, phones = files
    assert main(["score", "durations", units, *KNOWN, "--tier", "words"]) == 2
    assert "no effect without --phones" in capsys.readouterr().err
    Path(phones).write_text("x\t0.0\t0.04\ta\n")
    assert main(["score", "durations", units, *KNOWN, "--phones", phones]) == 2
    assert "no utterance has units and an alignment" in capsys.readouterr().err
    assert main(["score", "zipf", units, "--num-units", "4", "--orders", "0"]) == 2
    assert "--orders 0" in capsys.readouterr().err
    assert main(["score", "zipf", units, "--num-units", "2"]) == 2
    assert "must lie in 0..1" in capsys.readouterr().err
    Path(units).write_text("u\nv\n")
    assert main(["score", "zipf", units, "--num-units", "4"]) == 2
    assert "no units in 2 utterances" in capsys.readouterr().err


def test_zipf_by_hand(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Deduplicated 0 1 2 and 2 0: two of 0 and of 2, one of 1; pairs 01, 12, 20, a third each."""
    out = tmp_path / "zipf.json"
    command = ["score", "zipf", files[0], "--num-units", "4", "--orders", "2"]
    assert main([*command, "--json", "-o", str(out)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row == json.loads(out.read_text()) and row["runs_merged"]
    single, pairs = row["orders"]
    assert (single["tokens"], single["types"], single["hapaxes"], single["counts"]) == (5, 3, 1, [2, 2, 1])
    assert (pairs["tokens"], pairs["types"], pairs["possible"]) == (3, 3, 12)
    assert pairs["exponent"] == pytest.approx(0, abs=1e-9)
    assert pairs["entropy"] == pytest.approx(1.584962500721156) and pairs["conditional_entropy"] == 0
    assert main(command) == 0
    assert "3 of 4 units, runs of one unit merged, in 2 utterances" in capsys.readouterr().out
    assert main([*command, "--keep-runs", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["orders"][0]["counts"] == [4, 3, 1]  # of 2, 0 and 1
    assert (row["orders"][0]["tokens"], row["orders"][1]["tokens"], row["orders"][1]["possible"]) == (8, 6, 16)


def test_one_unit_has_no_exponent(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_text("u 1 1 1\n")
    assert main(["score", "zipf", files[0], "--num-units", "4", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["orders"][0]["exponent"] is None and row["orders"][1]["tokens"] == 0
    assert main(["score", "zipf", files[0], "--num-units", "4"]) == 0
    assert "undefined" in capsys.readouterr().out
