"""`upload`: a finished output folder to an object store (`s3://…`, or any address that fsspec writes to).

Shards are computed on a local disk, where renaming is atomic, and copied once all is done: files first, `sha256sums`
last, so that its presence means at the store what it means here. Every copy is read back and compared with its sha256.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from speechssl.data import remote
from speechssl.errors import AudioError, DataError
from speechssl.extract.merge import SUMS
from speechssl.extract.outputs import read_sums

_BLOCK = 8 << 20
_TIMEOUT_S = 3600.0  # for one file
_AT_ONCE = 8  # files

T = TypeVar("T")


def upload(folder: str | Path, address: str, *, tell: Callable[[str], None] = lambda name: None) -> tuple[int, int]:
    """Copy what is not there yet; returns the numbers of files copied and of files that were there with these bytes.

    tell: called with the name of each file. Raises DataError: not finished, a file here is not what `sha256sums` says,
    the store fails, or holds other bytes after all. May be called again at any time: it goes on.
    """
    folder, copied, present = Path(folder), 0, 0
    if not (folder / SUMS).is_file():
        raise DataError(f"{folder}: not finished, so not copied; give the command once more")
    sums, problems = read_sums(folder / SUMS)
    if problems:
        raise DataError(f"{folder}: {problems[0]}")
    base = address.rstrip("/")
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        waiting = {pool.submit(_copy, folder / name, f"{base}/{name}", value): name for name, value in sums.items()}
        for done in as_completed(waiting):
            copied, present = copied + done.result(), present + (not done.result())
            tell(waiting[done])
    finally:
        pool.shutdown(cancel_futures=True)
    last = _copy(folder / SUMS, f"{base}/{SUMS}", _sha256(folder / SUMS))
    tell(SUMS)
    return copied + last, present + (not last)


def _copy(source: Path, place: str, value: str) -> bool:
    """Whether it had to be copied."""
    try:
        size = source.stat().st_size
        if _stored_sha256(place, size) == value:
            return False
        if _sha256(source) != value:
            raise DataError(f"{source}: changed since it was written; not copied")
    except FileNotFoundError:
        raise DataError(f"{source}: missing; not copied") from None
    _in_time(place, lambda: _put(source, place))
    if _stored_sha256(place, size) != value:
        raise DataError(f"{remote.shown(place)}: reads back other bytes than were written")
    return True


def _put(source: Path, place: str) -> None:
    store, path = remote.filesystem(place)
    parent = path.rpartition("/")[0]
    if parent:
        store.makedirs(parent, exist_ok=True)
    store.put_file(str(source), path)


def _stored_sha256(place: str, size: int) -> str | None:
    """Of the file at the store; None where there is none, or one of another size."""

    def read() -> str | None:
        store, path = remote.filesystem(place)
        store.invalidate_cache()
        if not store.exists(path) or store.size(path) != size:
            return None
        digest = hashlib.sha256()
        with store.open(path, "rb", cache_type="none") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    found: str | None = _in_time(place, read)
    return found


def _in_time(place: str, action: Callable[[], T]) -> T:
    try:
        return remote.in_time(place, action, timeout_s=_TIMEOUT_S)
    except AudioError as error:
        raise DataError(str(error)) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
