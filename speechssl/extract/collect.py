"""Parts of one job that were computed in folders of their own, without a shared file system, brought together.

The folders may be copies of what other machines wrote (rsync, scp). Nothing in them is changed.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechssl.errors import DataError
from speechssl.extract import atomic, engines, journal
from speechssl.extract import job as jobs
from speechssl.extract.job import Job
from speechssl.extract.journal import ShardResult
from speechssl.extract.plan import Task
from speechssl.extract.worker import Settings

Where = dict[int, list[tuple[Path, ShardResult]]]  # shard: the folders that have it, with what their journals say


@dataclass(frozen=True)
class Collector:
    """An engine that computes nothing: it takes each shard from a folder that has it, checked against its journal."""

    shards: Where
    workers: int = 0

    def run(
        self,
        tasks: Iterator[Task],
        settings: Settings,
        on_done: engines.Done,
        on_progress: engines.Progressed,
        stop: engines.Stop,
    ) -> None:
        """As `Engine.run`; shards that no folder has are left out. DataError for one that changed in every folder."""
        for task in tasks:
            if stop():
                return
            if task.shard in self.shards:
                on_done(_take(self.shards[task.shard], settings))
                on_progress(0, 0.0)


def open_parts(folders: Sequence[Path]) -> tuple[Job, Where]:
    """The job that all folders hold parts of, and where each shard is.

    Raises DataError for a folder that holds another job (model, settings, kernel, manifest ...), and for a shard that
    two folders have with different bytes.
    """
    job = jobs.load(folders[0])
    where: Where = {}
    for folder in folders:
        different = jobs.differences(jobs.load(folder), job)
        if different:
            hint = "; give all machines the same --kernel, such as plain" if "kernel" in different[0] else ""
            raise DataError(f"{folder} holds another job than {folders[0]}: {'; '.join(different[:5])}{hint}")
        for shard, result in journal.read(folder).items():
            there = where.setdefault(shard, [])
            if there and there[0][1].files != result.files:
                raise DataError(f"shard {shard} differs between {there[0][0]} and {folder}{_why(there[0][1], result)}; "
                                "remove its files from one of them")  # fmt: skip
            there.append((folder, result))
    return job, where


def verify_parts(folders: Sequence[Path]) -> tuple[list[str], int]:
    """What is wrong with folders that together should hold every shard of one job, a line each; files looked at."""
    job, where = open_parts(folders)
    missing = [shard for shard in range(job.num_shards) if shard not in where]
    problems = [f"{len(missing)} of {job.num_shards} shards are in none of the folders: {missing[:9]}"] * bool(missing)
    files = 0
    for folder, result in (one for shard in sorted(where) for one in where[shard]):
        files += len(result.files)
        for name, value in result.files.items():
            if atomic.sha256(folder / "shards" / name) != value:
                problems.append(f"{folder / 'shards' / name}: changed since it was written")
    rows = sum(there[0][1].rows for there in where.values())
    if not missing and rows != job.manifest.utterances:
        problems.append(f"{rows} rows, expected {job.manifest.utterances}")
    return problems, files


def _take(there: Sequence[tuple[Path, ShardResult]], settings: Settings) -> ShardResult:
    changed = ""
    for folder, result in there:
        with atomic.scratch(settings.folder, settings.tag) as scratch:
            for name in result.files:
                shutil.copyfile(folder / "shards" / name, scratch / name)
            bad = [name for name, value in result.files.items() if atomic.sha256(scratch / name) != value]
            if not bad:
                atomic.commit(scratch, settings.folder)
                return result
            changed = f"{folder / 'shards' / bad[0]}: changed since it was written"
    raise DataError(f"{changed}; the command that wrote the folder makes it again once the file is removed")


def _why(one: ShardResult, other: ShardResult) -> str:
    """Rows that one machine could not do and the other could are the likely reason."""
    return f" (skipped: {_skipped(one.failures)} there, {_skipped(other.failures)} here)" * (
        one.failures != other.failures
    )


def _skipped(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count}" for code, count in failures.items()) or "none"
