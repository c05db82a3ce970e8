"""Files that are there whole or not at all: written in a scratch folder, synced, hashed, renamed into place."""

import fcntl
import glob
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from speechssl.errors import naming

_SCRATCH = ".tmp-"


@contextmanager
def scratch(folder: Path, tag: str, *, private: bool = False) -> Iterator[Path]:
    """A fresh folder inside `folder` to write in, gone afterwards whatever happens. `tag` names its owner.

    Locked while its process lives, so that `clean_abandoned` can tell what a killed one left. private: for the user's
    own eyes, as in a folder for everybody's temporary files.
    """
    path, handle = _locked_folder(folder, tag, 0o700 if private else 0o777)
    try:
        with naming(folder):
            yield path
    finally:
        os.close(handle)
        shutil.rmtree(path, ignore_errors=True)


def _locked_folder(folder: Path, tag: str, mode: int) -> tuple[Path, int]:
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        path = folder / f"{_SCRATCH}{tag}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        path.mkdir(mode)
        with suppress(FileNotFoundError):  # somebody took it for abandoned before it was locked
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_SH)
            if os.fstat(handle).st_nlink:
                return path, handle
            os.close(handle)


def clean(folder: Path, tag: str) -> None:
    """Remove what killed writers of this tag left behind. Call only while no other writer can have the tag."""
    for path in folder.glob(f"{_SCRATCH}{glob.escape(tag)}-*"):
        shutil.rmtree(path, ignore_errors=True)


def clean_abandoned(folder: Path, tag: str) -> None:
    """As `clean`, where other writers may be at work: only what nobody holds, and what is this user's own."""
    for path in folder.glob(f"{_SCRATCH}{glob.escape(tag)}-*"):
        with suppress(OSError):  # no folder, not ours, gone already, in use, or a file system without locks
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(handle).st_uid == os.geteuid():
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


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


def write_output(path: Path, text: str) -> None:
    """As `write_text`, to where a user said: through links, and straight into what is no file, such as /dev/stdout."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8", newline="\n")
        return
    clean_abandoned(path.parent, "output")
    write_text(path, text, "output")


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
