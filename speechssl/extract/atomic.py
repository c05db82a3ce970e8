"""Files that are there whole or not at all: written in a scratch folder, synced, hashed, renamed into place."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCRATCH = ".tmp-"


@contextmanager
def scratch(folder: Path, tag: str) -> Iterator[Path]:
    """A fresh folder inside `folder` to write in, gone afterwards whatever happens. `tag` names its owner."""
    path = folder / f"{_SCRATCH}{tag}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def clean(folder: Path, tag: str) -> None:
    """Remove what killed writers of this tag left behind. Call only while no other writer can have the tag."""
    for path in folder.glob(f"{_SCRATCH}{tag}-*"):
        shutil.rmtree(path, ignore_errors=True)


def commit(source: Path, folder: Path) -> dict[str, str]:
    """Move every file of `source` into `folder`, durably; returns {name: sha256}.

    Nothing is moved before all of it is on the disk, so a full disk or a kill leaves no short file under a final name.
    """
    files = sorted(source.iterdir())
    hashes = {path.name: sha256(path) for path in files}
    for path in files:
        sync(path)
    for path in files:
        path.replace(folder / path.name)
    sync(folder)
    return hashes


def write_text(path: Path, text: str, tag: str) -> str:
    """Write one small text file atomically; returns its sha256."""
    with scratch(path.parent, tag) as folder:
        (folder / path.name).write_text(text, encoding="utf-8", newline="\n")
        return commit(folder, path.parent)[path.name]


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
