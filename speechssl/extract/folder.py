"""The output folder as a place: whose files are in it, and an orderly end when a signal asks for one."""

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from speechssl.errors import DataError

_OURS = ("sha256sums", "report.json", "failures.tsv", "units", "units.*", "durations", "durations.*", "dict.km.txt",
         "features.json", "feats.scp", "journal*.jsonl", "shards", ".tmp-*", "job.json")  # fmt: skip
_FINAL = _OURS[2 : _OURS.index("journal*.jsonl")]  # what a merge writes
# job.json is the last to go: until then the folder is known as ours


def check(folder: Path) -> None:
    """Refuse to write among files that are not ours."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: there is a file of that name; the output is a folder")
    if (folder / "shards").is_symlink():  # whoever made the folder does not decide where else we write
        raise DataError(f"{folder / 'shards'}: a link to another place; give the real folder as output")
    if folder.is_dir() and not (folder / "job.json").exists():
        strange = [path.name for path in folder.iterdir() if not path.name.startswith(("lock", ".tmp-"))]
        if strange:
            raise DataError(f"{folder}: not empty, and not an output of this tool (has {sorted(strange)[0]})")


def clear(folder: Path) -> None:
    """Remove what a job wrote, and nothing else. Called with the lock held."""
    for pattern in _OURS:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def final_files(folder: Path) -> set[str]:
    """Names in `folder` that only a merge gives: anything else there is the user's own."""
    return {path.name for pattern in _FINAL for path in folder.glob(pattern)}


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT ask for an orderly stop, the second SIGINT for none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: object) -> None:
        stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    old = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
