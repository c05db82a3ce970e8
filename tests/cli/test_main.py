"""The command itself: exit codes."""

from pathlib import Path

import pytest

from speechssl import cli
from speechssl.cli import data


def test_a_bug_leaves_with_2_and_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(data, "run", lambda args: 1 // 0)
    assert cli.main(["data", "check", str(tmp_path)]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_no_verb_prints_help_and_leaves_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    out = capsys.readouterr().out
    assert all(verb in out for verb in cli.verbs())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.count(".") == 2
