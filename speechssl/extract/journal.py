"""Which shards are done: one JSON line per finished shard, appended and synced, one file per writer.

A killed writer may leave a torn last line: readers ignore it and the next append removes it. A line counts only if
the shard's files are there; whether their bytes still have the stated sha256 is seen by whoever reads them.
"""

import json
import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from speechssl import config, files
from speechssl.errors import DataError, naming
from speechssl.extract import atomic
from speechssl.extract import job as jobs

_MOST_BYTES = 1 << 30  # of a journal, or of a shard's rows
_SUM = "crc32"  # of a line's other values: a flipped bit in a number is no other number


@dataclass(frozen=True)
class ShardResult:
    """What came of one shard."""

    shard: int
    files: dict[str, str]  # name in shards/: sha256
    rows: int  # = ok + the sum of failures
    ok: int
    frames: int
    seconds: float  # of audio in rows that are ok
    failures: dict[str, int] = field(default_factory=dict)  # reason code: rows
    notes: dict[str, int] = field(default_factory=dict)  # what was done to recordings: rows

    def __post_init__(self) -> None:
        """Refuse numbers that no shard has: journals are read from folders that others may have written."""
        if min(self.shard, self.rows, self.ok, self.frames) < 0 or not 0 <= self.seconds < math.inf:
            raise ValueError("a negative number in a journal")


def append(path: Path, result: ShardResult) -> None:
    """Write a result down durably. OSError where something else than a file, such as a link to one, has the name."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        with naming(path):
            _append(handle, (json.dumps({**asdict(result), _SUM: _sum(result)}, ensure_ascii=False) + "\n").encode())
    finally:
        os.close(handle)


def read(folder: Path) -> dict[int, ShardResult]:
    """Done shards of the job in `folder`, by number, from all journals, where their files are in `folder`/shards.

    A line that names files of anything else than its own shard does not count: merging removes what does not fit. Of
    two lines that disagree (a shard was made again, by another part) the one counts whose hashes the files have.
    """
    job = jobs.load(folder)
    done: dict[int, ShardResult] = {}
    present = {path.name for path in (folder / "shards").glob("*")}
    for path in sorted(folder.glob("journal*.jsonl")):
        for result in _lines(path):
            own = all(name.startswith(f"{job.stem(result.shard)}.") for name in result.files)
            if own and result.shard < job.num_shards and set(result.files) <= present:
                earlier = done.setdefault(result.shard, result)
                if earlier.files != result.files and _as_stated(folder / "shards", result):
                    done[result.shard] = result
    return done


def _as_stated(shards: Path, result: ShardResult) -> bool:
    return all(atomic.sha256(shards / name) == value for name, value in result.files.items())


def total(results: Mapping[int, ShardResult]) -> ShardResult:
    """The sums over all results, as one result with shard = how many there are."""
    failures: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for result in results.values():
        failures.update(result.failures)
        notes.update(result.notes)
    rows, ok, frames = (sum(getattr(r, key) for r in results.values()) for key in ("rows", "ok", "frames"))
    seconds = sum(results[key].seconds for key in sorted(results))
    return ShardResult(len(results), {}, rows, ok, frames, seconds, dict(sorted(failures.items())), dict(notes))


def read_rows(folder: Path, stem: str) -> list[dict[str, Any]]:
    """A shard's rows: id with frames, samples (at the encoder's rate) and notes, or id with code and error.

    Raises DataError where the file is not as `run_shard` writes it.
    """
    path = folder / f"{stem}.jsonl"
    try:
        rows = [json.loads(line) for line in files.read_text(path, most=_MOST_BYTES).split("\n")[:-1]]
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not the rows of a shard: {error}") from None
    for number, row in enumerate(rows, 1):
        if not _is_row(row):
            raise DataError(f"{path}:{number}: damaged: {row!r:.200}")
    return rows


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        return False
    if "code" in row:
        return isinstance(row["code"], str) and isinstance(row.get("error"), str)
    notes = row.get("notes", [])
    counts = (row.get("frames"), row.get("samples"), row.get("offset", 0))
    return (
        all(type(count) is int and 0 <= count < 1 << 62 for count in counts)
        and isinstance(notes, list)
        and all(isinstance(note, str) for note in notes)
    )


def _lines(path: Path) -> Iterator[ShardResult]:
    try:
        lines = files.read_bytes(path, most=_MOST_BYTES).split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: not a journal: {error.strerror}") from None
    for line in lines[:-1]:  # what follows the last newline is torn or empty
        try:
            values = json.loads(line)
            stated = values.pop(_SUM, None)
            result = config.build(ShardResult, values)
            if stated in (None, _sum(result)):  # None: from before lines had one
                yield result
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue  # a line damaged in the middle: its shard is done again


def _sum(result: ShardResult) -> int:
    return zlib.crc32(json.dumps(asdict(result)).encode())


def _append(handle: int, line: bytes) -> None:
    end, written = _end_of_lines(handle), 0
    os.ftruncate(handle, end)
    while written < len(line):
        written += os.pwrite(handle, line[written:], end + written)
    os.fsync(handle)


def _end_of_lines(handle: int) -> int:
    """Where the last whole line ends."""
    size = os.fstat(handle).st_size
    while size:
        start = max(0, size - 65536)
        newline = os.pread(handle, size - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        size = start
    return 0
