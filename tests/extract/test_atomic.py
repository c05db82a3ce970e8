"""Scratch folders: gone after use, and after a kill only once nobody can be using them."""

import multiprocessing
import os
from pathlib import Path

import pytest

from speechssl.extract import atomic


def leave(folder: Path) -> None:
    """A process that dies with its scratch folder in use."""
    with atomic.scratch(folder, "m[1]") as scratch:
        (scratch / "half").write_text("x")
        os._exit(9)


def test_what_a_killed_process_left_is_removed_and_what_others_use_is_not(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=leave, args=(tmp_path,))
    process.start()
    process.join()
    (tmp_path / ".tmp-m[1]-file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".tmp-m[1]-link").symlink_to(tmp_path / "elsewhere")
    assert len(list(tmp_path.iterdir())) == 4
    with atomic.scratch(tmp_path, "m[1]") as used, atomic.scratch(tmp_path, "other") as other:
        atomic.clean_abandoned(tmp_path, "m[1]")
        assert used.is_dir() and other.is_dir()
        assert len(list(tmp_path.iterdir())) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-m[1]-file", ".tmp-m[1]-link", "elsewhere"]


def test_a_scratch_folder_taken_away_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = Path.mkdir, 0

    def raced(path: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        nonlocal calls
        original(path, mode, parents, exist_ok)
        if path.name.startswith(".tmp-"):
            calls += 1
            if calls == 1:
                atomic.clean_abandoned(tmp_path, "m")

    monkeypatch.setattr(Path, "mkdir", raced)
    with atomic.scratch(tmp_path, "m") as scratch:
        assert scratch.is_dir()
    assert calls == 2


def test_private_scratch_is_for_nobody_else(tmp_path: Path) -> None:
    with atomic.scratch(tmp_path, "m", private=True) as scratch:
        assert scratch.stat().st_mode & 0o777 == 0o700
