"""One writer per output folder, or several that share it by `--shard i/n`, each i once.

Advisory locks of the operating system (flock): they vanish with the process, so a killed run never blocks the next.
On NFS they need a lock-capable mount (NFSv4, or v3 with lockd).
"""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from speechssl import files
from speechssl.errors import DataError


@contextmanager
def writing(folder: Path, part: tuple[int, int]) -> Iterator[None]:
    """Hold the right to write part (i, n) of `folder`. DataError if another process has it, or has all of it."""
    index, count = part
    with _held(folder / "lock", exclusive=count == 1) as whole:
        if not whole:
            who = _who(folder / "lock", "parts of it, --shard I/N")
            raise DataError(
                f"{folder}: another process is writing there ({who}); wait for it, or choose another folder"
            )
        with _held(folder / f"lock.{index}of{count}", exclusive=True) as own:
            if not own:
                who = _who(folder / f"lock.{index}of{count}", "unknown")
                raise DataError(f"{folder}: another process is writing shard {index}/{count} there ({who})")
            with ExitStack() as held:
                with claiming(folder):  # one process at a time looks around
                    held.enter_context(_held(folder / f"lock.of{count}", exclusive=False))
                    _refuse_other_counts(folder, count)
                yield


@contextmanager
def claiming(folder: Path) -> Iterator[None]:
    """Wait for the right to write down which job `folder` holds: parts that start at once must agree on one."""
    handle = os.open(folder / "lock.job", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def merging(folder: Path) -> Iterator[bool]:
    """Whether this process is the one to merge `folder`; False while another one does."""
    with _held(folder / "lock.merge", exclusive=True) as held:
        yield held


def _refuse_other_counts(folder: Path, count: int) -> None:
    """Parts of 3 and parts of 4 would do the same shards at the same time. Only locks that are held count."""
    for path in sorted(folder.glob("lock.of*")):
        if path.name != f"lock.of{count}":
            with _held(path, exclusive=True) as free:
                if not free:
                    raise DataError(f"{folder}: parts of --shard I/{path.name[7:]} are running there, not of I/{count}")


def _who(path: Path, unknown: str) -> str:
    """Which process holds a lock, as its file says; several that share it do not say."""
    try:
        text = files.read_bytes(path, most=500).decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return f"{text if text.isprintable() and text else unknown}; lock {path.name}"


@contextmanager
def _held(path: Path, *, exclusive: bool) -> Iterator[bool]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        held = True
    except BlockingIOError:
        held = False
    if held:
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {platform.node()}\n".encode() if exclusive else b"", 0)
    try:
        yield held
    finally:
        os.close(handle)
