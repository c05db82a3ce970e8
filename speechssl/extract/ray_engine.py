"""Shards on a Ray cluster. What travels is a shard's number with its rows' paths; no audio, no frames.

Plain actors and not Ray Data: nothing passes through Ray that would have to be batched or moved, its pool tries blocks
again without end, and it needs pandas (docs/scale.md). Every actor is a guard over one worker of the local pool: limits
of time and memory, and the row on which a worker died, are handled as on one machine, so the bytes are the same. An
actor that is lost (killed, its machine gone) gives its shard back. Only the driver writes the journal: a shard counts
once, however often it was begun.
"""

import atexit
import dataclasses
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from speechssl.errors import ConfigError, DataError, SpeechSSLError
from speechssl.extract import engines, processes
from speechssl.extract import job as jobs
from speechssl.extract.journal import ShardResult
from speechssl.extract.plan import Task
from speechssl.extract.worker import Settings

_GRACE_S = 5.0  # for shards in hand when a stop is asked for
_POLL_S = 0.2
_CONNECT_S = 10.0
_LOSSES = 3  # of every actor, on average, without a finished shard in between: that is no accident
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # Ray's name for it; "0" keeps its servers on 127.0.0.1 on Linux too
_LONGEST = 30  # characters of the temporary folder: Ray's sockets are in it, and their paths end at 107
_STORE_BYTES = 100 << 20  # of Ray's shared memory; the least it takes is 75 MB, and we keep nothing there


class Guard:
    """The actor: a pool of one worker process that is fed shard by shard."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._results: SimpleQueue[ShardResult | Exception] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(
        self, settings: Settings, time_limit_s: float, memory_limit_gb: float | None, folder: str
    ) -> Exception | None:
        """Get ready; what is wrong with this machine, if something is. folder: the driver's, for relative paths."""
        where = f"machine {socket.gethostname()}"
        main = sys.modules["__main__"]
        if Path(getattr(main, "__file__", None) or "").name == "default_worker.py":
            main.__file__ = None  # Ray's; multiprocessing would run it, and import Ray, in all our workers
            atexit.register(processes.kill_children, os.getpid())  # or leaving waits for workers that mind no SIGTERM
        try:
            os.chdir(folder)
            found = jobs.load(settings.folder.parent)
        except (OSError, SpeechSSLError) as error:
            return DataError(f"{where}: {error}; the working folder and the output must be shared by all machines")
        if different := jobs.differences(found, settings.job):
            return DataError(f"{where}: {settings.folder.parent} is not the driver's: {different[0]}")
        workers = max(1, engines.default_workers(settings.job.device) // settings.threads)
        limit = processes.memory_limit(memory_limit_gb, workers)
        settings = dataclasses.replace(settings, memory_limit=limit)
        self._thread = threading.Thread(target=self._serve, args=(settings, time_limit_s), daemon=True)
        self._thread.start()
        return None

    def run(self, task: Task) -> ShardResult | Exception:
        """Run one shard; an exception that is returned would come for every other shard, too."""
        self._tasks.put(task)
        return self._results.get()

    def end(self) -> None:
        """End the worker process; for whoever holds a guard outside Ray, which ends actors with all they started."""
        self._tasks.put(None)
        if self._thread is not None:
            self._thread.join()

    def _serve(self, settings: Settings, time_limit_s: float) -> None:
        from speechssl.extract.pool import Pool

        try:
            tasks, limits = iter(self._tasks.get, None), (time_limit_s, settings.memory_limit)
            Pool(settings, 1, *limits, self._results.put, lambda *_: None, lambda: False).run(tasks)
        except (SpeechSSLError, OSError) as error:
            self._results.put(error)
        except BaseException:  # reported to the driver, which stops the run
            self._results.put(RuntimeError(traceback.format_exc()))
            raise


@dataclass
class RayActors:
    """Runs shards on actors of the cluster at `address`; None: one of this machine alone, for this run."""

    asked: int | None  # actors; None: as many as the cluster's CPUs (GPUs) allow
    most: int
    time_limit_s: float
    memory_limit_gb: float | None
    address: str | None = None
    workers: int = 0  # known when the cluster is there

    def run(
        self,
        tasks: Iterator[Task],
        settings: Settings,
        on_done: engines.Done,
        on_progress: engines.Progressed,
        stop: engines.Stop,
    ) -> None:
        """As `Engine.run`. Raises OSError where actors are lost again and again."""
        local = min(self.most, self.asked or engines.default_workers(settings.job.device))
        with cluster(self.address, local * settings.threads) as ray:
            self.workers = local if self.address is None else min(self.most, self.asked or _room(ray, settings))
            drive = _Drive(ray, self._actors(ray, settings), deque(), [], {})
            drive.start(self.workers)
            try:
                drive.run(tasks, on_done, on_progress, stop)
            finally:
                drive.end()

    def _actors(self, ray: Any, settings: Settings) -> Callable[[], tuple[Any, Any]]:
        """Makes an actor; returns it with its first answer to come."""
        needs = {"num_cpus": settings.threads, "num_gpus": int(settings.job.device == "cuda")}
        kind = ray.remote(**needs, scheduling_strategy="SPREAD")(Guard)
        orders = settings, self.time_limit_s, self.memory_limit_gb, str(Path.cwd())

        def make() -> tuple[Any, Any]:
            actor = kind.remote()
            return actor, actor.begin.remote(*orders)

        return make


@dataclass
class _Drive:
    """The driver's view: which actor has which shard."""

    ray: Any
    make: Callable[[], tuple[Any, Any]]
    again: deque[Task]
    idle: list[Any]
    busy: dict[Any, tuple[Any, Task | None]]  # answer to come: actor, its shard; None: it is getting ready
    lost: int = 0  # actors since the last finished shard
    actors: int = 0

    def start(self, count: int) -> None:
        """An actor gets its first shard when it is there: the cluster may have no room for it, now or ever."""
        self.actors = max(self.actors, count)
        for _ in range(count):
            actor, answer = self.make()
            self.busy[answer] = actor, None

    def run(
        self, tasks: Iterator[Task], on_done: engines.Done, on_progress: engines.Progressed, stop: engines.Stop
    ) -> None:
        stopping_at = None
        while True:
            if stop():
                stopping_at = stopping_at or time.monotonic() + _GRACE_S
            while self.idle and not stopping_at and (task := self.again.popleft() if self.again else next(tasks, None)):
                actor = self.idle.pop()
                self.busy[actor.run.remote(task)] = actor, task
            in_hand = any(task for _, task in self.busy.values())
            if stopping_at and (not in_hand or time.monotonic() > stopping_at):
                return
            if self.idle and not in_hand:  # nothing left
                return
            for answer in self.ray.wait(list(self.busy), timeout=_POLL_S)[0]:
                if (result := self._hear(answer)) is not None:
                    on_done(result)
            on_progress(0, 0.0)

    def _hear(self, answer: Any) -> ShardResult | None:
        actor, task = self.busy.pop(answer)
        try:
            outcome = self.ray.get(answer)
        except self.ray.exceptions.RayActorError as error:
            self.lost += 1
            if self.lost > _LOSSES * self.actors:
                raise OSError(f"Ray lost {self.lost} actors without a finished shard: {error}") from None
            self.again.extend([task] if task else [])
            self.start(1)
            return None
        if isinstance(outcome, Exception):
            raise outcome
        self.idle.append(actor)
        self.lost = 0 if outcome else self.lost
        return outcome

    def end(self) -> None:
        """End actors at once, with their workers: on a cluster that goes on they would linger."""
        for actor in [*self.idle, *(actor for actor, _ in self.busy.values())]:
            self.ray.kill(actor)


def _room(ray: Any, settings: Settings) -> int:
    """How many actors the cluster has room for when it is idle. ConfigError if none."""
    there = ray.cluster_resources()
    room = int(there.get("CPU", 0)) // settings.threads
    if settings.job.device == "cuda":
        room = min(room, int(there.get("GPU", 0)))
    if not room:
        raise ConfigError(f"the Ray cluster has no room for a worker: {there.get('CPU', 0):g} CPUs, "
                          f"{there.get('GPU', 0):g} GPUs")  # fmt: skip
    return room


@contextmanager
def cluster(address: str | None, cpus: int) -> Iterator[Any]:
    """Ray, connected: where the caller has done that already, as it is; else for this block."""
    engines.need_ray()
    _check_address(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None and "ray" not in sys.modules:
        os.environ[_LOOPBACK] = "0"
    import ray

    if ray.is_initialized():
        yield ray
        return
    if address is None and os.environ.get(_LOOPBACK) != "0":
        raise ConfigError(f"Ray was imported before: call ray.init() yourself, or set {_LOOPBACK}=0 before the import")
    with ExitStack() as stack:
        options: dict[str, Any] = {"address": address}
        if address is None:
            short = tempfile.gettempdir() if len(tempfile.gettempdir()) < _LONGEST else "/tmp"
            files = tempfile.TemporaryDirectory(prefix="ray-", dir=short, ignore_cleanup_errors=True)
            place = stack.enter_context(files)
            options = {"address": "local", "num_cpus": cpus, "include_dashboard": False, "_temp_dir": place,
                       "object_store_memory": _STORE_BYTES}  # fmt: skip
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        stack.callback(ray.shutdown)
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"Ray at {address or 'this machine'}: {error}") from error
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)  # Ray's own would leave at once
        yield ray


def _check_address(address: str | None) -> None:
    """ConfigError where nothing answers at host:port; Ray would try for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host or not port.isdecimal():
        return  # auto, or some other way that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"Ray at {address}: {error}; is `ray start --head` running there?") from None
