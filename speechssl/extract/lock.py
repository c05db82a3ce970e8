"""One writer per output folder, or several that share it by `--shard i/n`, each i once.

Advisory locks of the operating system (flock): they vanish with the process, so a killed run never blocks the next.
On NFS they need a lock-capable mount (NFSv4, or v3 with lockd).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechssl.errors import DataError


@contextmanager
def writing(folder: Path, part: tuple[int, int]) -> Iterator[None]:
    """Hold the right to write part (i, n) of `folder`. DataError if another process has it, or has all of it."""
    index, count = part
    with _held(folder / "lock", exclusive=count == 1) as whole:
        if not whole:
            raise DataError(f"{folder}: another process is writing there; wait for it, or choose another folder")
        with _held(folder / f"lock.{index}of{count}", exclusive=True) as own:
            if not own:
                raise DataError(f"{folder}: another process is writing shard {index}/{count} there")
            yield


@contextmanager
def merging(folder: Path) -> Iterator[bool]:
    """Whether this process is the one to merge `folder`; False while another one does."""
    with _held(folder / "lock.merge", exclusive=True) as held:
        yield held


@contextmanager
def _held(path: Path, *, exclusive: bool) -> Iterator[bool]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        held = True
    except BlockingIOError:
        held = False
    try:
        yield held
    finally:
        os.close(handle)
