"""`speechssl score sharing`: the numbers, what is reported as missing, what is refused."""

import json
from pathlib import Path

import pytest

from speechssl.cli import main

UNITS = "a1 0 1\na2 0 1 1 0\nb1 1 2\nc1 3 3 3\n"
GROUPS = "a1 fr\na2 fr\nb1 de\nc1 mbosi\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "units.txt").write_text(UNITS)
    (tmp_path / "utt2lang").write_text(GROUPS)
    return str(tmp_path / "units.txt"), str(tmp_path / "utt2lang")


def test_the_example_by_hand(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """fr uses 0 and 1 evenly, de 1 and 2: they share half; mbosi shares nothing."""
    units, groups = files
    out = tmp_path / "new" / "sharing.json"
    command = ["score", "sharing", units, "--groups", groups, "--num-units", "5"]
    assert main([*command, "--json", "-o", str(out)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row == json.loads(out.read_text())
    assert row["groups"] == ["de", "fr", "mbosi"] and row["frames"] == [2, 6, 3] and row["codes"] == [2, 2, 1]
    assert row["similarity"] == [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]] and row["codes_by_users"] == [3, 1, 0]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "mbosi              3  1" in text and "used by   2 groups  1 codes" in text


def test_utterances_without_a_group_change_the_exit_code(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    units, groups = files
    Path(groups).write_text("a1 fr\nb1 de\n")
    command = ["score", "sharing", units, "--groups", groups, "--num-units", "5"]
    assert main(command) == 1
    assert "2 utterances without a group, for example a2, c1" in capsys.readouterr().out
    assert main([*command, "--allow-missing"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a1\n", "utt2lang:1: expected an utterance and its group"),
        ("a1 fr\na1 de\n", "utt2lang:2: a1 is in fr and in de"),
        ("x fr\n", "has the group of none of the 4 utterances"),
    ],
)
def test_groups_that_make_no_sense_are_refused(
    text: str, message: str, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[1]).write_text(text)
    assert main(["score", "sharing", files[0], "--groups", files[1], "--num-units", "5"]) == 2
    assert message in capsys.readouterr().err


def test_units_beyond_the_codebook_are_refused(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "sharing", files[0], "--groups", files[1], "--num-units", "3"]) == 2
    assert capsys.readouterr().err
