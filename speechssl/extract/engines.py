"""Who runs the shards: this process, local workers, or a Ray cluster. Each is a thin launcher of `run_shard`.

An engine is given tasks and reports finished shards one by one; what is done and what is not, the journal, and the
final files are `run`'s business, so no engine can change the bytes of a result.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from speechssl.errors import ConfigError
from speechssl.extract import processes
from speechssl.extract.journal import ShardResult
from speechssl.extract.plan import Task

if TYPE_CHECKING:
    from speechssl.extract.worker import Settings

Done = Callable[[ShardResult], None]
Progressed = Callable[[int, float], None]  # rows and seconds of audio in shards that are in hand
Stop = Callable[[], bool]


class Stopped(Exception):
    """Leaves work in hand when a stop was asked for."""


class Engine(Protocol):
    """Runs shards somewhere."""

    @property
    def workers(self) -> int:
        """How many shards are in hand at a time; 0: one, in this process."""
        ...

    def run(
        self, tasks: Iterator[Task], settings: "Settings", on_done: Done, on_progress: Progressed, stop: Stop
    ) -> None:
        """Run all tasks, or return early where `stop`, asked now and then, says so. on_done: once for each shard."""
        ...


@dataclass(frozen=True)
class InProcess:
    """One shard after the other in this process: no limits of time and memory."""

    workers: int = 0

    def run(
        self, tasks: Iterator[Task], settings: "Settings", on_done: Done, on_progress: Progressed, stop: Stop
    ) -> None:
        """As `Engine.run`; stops between rows."""
        import torch

        from speechssl.extract.shard import run_shard
        from speechssl.extract.worker import load

        def beat(rows: int, seconds: float) -> None:
            if stop():
                raise Stopped
            on_progress(rows, seconds)

        threads = torch.get_num_threads()
        try:
            encoder = load(settings)
            for task in tasks:
                on_done(run_shard(task, settings.folder, encoder, tag=settings.tag, beat=beat))
        except Stopped:
            pass
        finally:
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class LocalPool:
    """Worker processes on this machine."""

    workers: int
    time_limit_s: float
    memory_limit_gb: float | None

    def run(
        self, tasks: Iterator[Task], settings: "Settings", on_done: Done, on_progress: Progressed, stop: Stop
    ) -> None:
        """As `Engine.run`."""
        from speechssl.extract.pool import Pool

        limit = processes.memory_limit(self.memory_limit_gb, self.workers)
        settings = dataclasses.replace(settings, memory_limit=limit)
        Pool(settings, self.workers, self.time_limit_s, limit, on_done, on_progress, stop).run(tasks)


def default_workers(device: str) -> int:
    """One per core that this process may use; one for a GPU."""
    if device == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def need_ray() -> None:
    """ConfigError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("engine ray: Ray is not installed here: pip install 'speechssl[ray]'")
