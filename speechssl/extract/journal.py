"""Which shards are done: one JSON line per finished shard, appended and synced, one file per writer.

A killed writer may leave a torn last line: readers ignore it and the next append removes it. A line counts only if
the shard's files are there; whether their bytes still have the stated sha256 is seen by whoever reads them.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from speechssl import config


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


def append(path: Path, result: ShardResult) -> None:
    """Write a result down durably."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        end = _end_of_lines(handle)
        line = (json.dumps(asdict(result), ensure_ascii=False) + "\n").encode()
        written = 0
        os.ftruncate(handle, end)
        while written < len(line):
            written += os.pwrite(handle, line[written:], end + written)
        os.fsync(handle)
    finally:
        os.close(handle)


def read(folder: Path) -> dict[int, ShardResult]:
    """Done shards by number, from all journals in `folder`, where their files are in `folder`/shards."""
    done = {}
    present = {path.name for path in (folder / "shards").glob("*")}
    for path in sorted(folder.glob("journal*.jsonl")):
        for result in _lines(path):
            if set(result.files) <= present:
                done[result.shard] = result
    return done


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
    """A shard's rows: id with frames, samples (at the encoder's rate) and notes, or id with code and error."""
    text = (folder / f"{stem}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def _lines(path: Path) -> Iterator[ShardResult]:
    for line in path.read_bytes().split(b"\n")[:-1]:  # what follows the last newline is torn or empty
        try:
            yield config.build(ShardResult, json.loads(line))
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue  # a line damaged in the middle: its shard is done again


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
