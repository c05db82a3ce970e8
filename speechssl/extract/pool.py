"""Local worker processes that run shards.

Differs from concurrent.futures: there a dead process breaks the whole pool and nobody knows what it worked on, and a
hanging one cannot be stopped. Here every worker has its own connection and says which row it has in hand. A row on
which a worker dies, or takes more memory than it may, is tried again with its shard in a fresh process, row by row;
when that goes wrong too the row is recorded as "worker-died" or "out-of-memory". SIGKILL may come from outside (the
kernel short of memory, a person): then there is a third try. A row without any sign of life for `time_limit_s` is
recorded as "timeout" and its process killed, with the commands that it had started.
"""

import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from speechssl.errors import ConfigError
from speechssl.extract import processes
from speechssl.extract.journal import ShardResult
from speechssl.extract.plan import Task
from speechssl.extract.worker import HEAVY, Settings, main

_GRACE_S = 5.0  # for shards in hand when a stop is asked for
_POLL_S = 0.2
_LOOK_S = 0.1  # between looks at the workers' memory
_TRIES = {"timeout": 1, "out-of-memory": 2, "worker-died": 2, "killed": 3}  # of a row, before it is given up
_DEATHS_OUTSIDE_ROWS = 5  # in a row while loading the model, or closing one shard's files: that is no accident
_LEAST_ROOM = 64 << 20  # bytes that the limit must leave beside the model
_STARTS = 3  # of one process, where the forkserver is gone
_LOADING = (-1, None)  # in _deaths


@dataclass
class _Worker:
    process: Any
    connection: Connection
    ready: bool = False
    task: Task | None = None
    row: int | None = None  # in hand, as far as we were told
    seconds: float = 0.0  # of audio done in this shard
    last_sign: float = 0.0


@dataclass
class Pool:
    """Runs tasks on `size` processes. `stop` is asked between messages and ends the run early."""

    settings: Settings
    size: int
    time_limit_s: float
    memory_limit: int | None  # bytes of each worker
    on_done: Callable[[ShardResult], None]
    on_progress: Callable[[int, float], None]  # rows and seconds of audio in shards that are in hand
    stop: Callable[[], bool]
    _workers: list[_Worker] = field(default_factory=list)
    _again: deque[Task] = field(default_factory=deque)
    _skip: dict[int, dict[int, str]] = field(default_factory=dict)  # shard: row: reason code
    _deaths: Counter[tuple[int, int | None]] = field(default_factory=Counter)
    _looked: float = 0.0

    def run(self, tasks: Iterator[Task]) -> None:
        """Run all tasks, or return early where `stop` says so. Raises what a worker could not cope with."""
        stopping_at = None
        try:
            while True:
                if self.stop():
                    stopping_at = stopping_at or time.monotonic() + _GRACE_S
                    if time.monotonic() > stopping_at or not any(w.task for w in self._workers):
                        return
                elif not self._hand_out(tasks):
                    return
                self._listen(stopping=stopping_at is not None)
                self._check_time()
                self._check_memory()
                self.on_progress(sum(w.row or 0 for w in self._workers), sum(w.seconds for w in self._workers))
        finally:
            for worker in self._workers:
                self._end(worker)

    def _hand_out(self, tasks: Iterator[Task]) -> bool:
        """Give idle workers something to do, starting processes as needed; False when all is done."""
        idle = [w for w in self._workers if w.ready and w.task is None]
        while idle or len(self._workers) < self.size:
            task = self._again.popleft() if self._again else next(tasks, None)
            if task is None:
                break
            if idle and task.shard in self._skip:  # after trouble: in a process where nothing happened before
                self._end(idle[-1])
                self._workers.remove(idle.pop())
            self._give(idle.pop() if idle and task.shard not in self._skip else self._start(), task)
        return any(w.task for w in self._workers)

    def _give(self, worker: _Worker, task: Task) -> None:
        worker.task, worker.row, worker.seconds, worker.last_sign = task, None, 0.0, time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: _listen will notice
            worker.connection.send((task, self._skip.get(task.shard)))

    def _start(self) -> _Worker:
        # The model is loaded by every process for itself; what they inherit is a fresh interpreter's imports.
        context: Any = get_context("spawn" if self.settings.job.device == "cuda" else "forkserver")
        context.set_forkserver_preload(list(HEAVY))
        ours, theirs = context.Pipe()
        process = context.Process(target=main, args=(theirs, self.settings), daemon=True)
        _start(process)
        theirs.close()
        self._workers.append(_Worker(process, ours, last_sign=time.monotonic()))
        return self._workers[-1]

    def _listen(self, *, stopping: bool) -> None:
        by_connection = {w.connection: w for w in self._workers}
        for connection in wait(list(by_connection), timeout=_POLL_S):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                while worker.connection.poll():
                    self._hear(worker, worker.connection.recv())
            except (EOFError, ConnectionResetError):
                self._lost(worker, stopping)

    def _hear(self, worker: _Worker, message: tuple[Any, ...]) -> None:
        worker.last_sign = time.monotonic()
        match message:
            case ("ready",):
                worker.ready = True
                del self._deaths[_LOADING]
                self._check_room(worker)
            case ("beat", row, seconds):
                worker.row, worker.seconds = row, seconds
            case ("done", result):
                task, worker.task, worker.row, worker.seconds = worker.task, None, None, 0.0
                if task and "out-of-memory" in result.failures and task.shard not in self._skip:
                    self._skip[task.shard] = {}
                    self._again.append(task)  # was it the recording, or what the process had done before?
                    return
                self._skip.pop(result.shard, None)
                self.on_done(result)
            case ("failed", error):
                raise error

    def _lost(self, worker: _Worker, stopping: bool, code: str = "worker-died") -> None:
        """A worker is gone, or was killed for its silence: decide what becomes of its shard."""
        task, row = worker.task, worker.row
        self._end(worker)
        self._workers.remove(worker)
        if task is None or stopping:
            return
        in_rows = row is not None and row < len(task.rows)
        place = _LOADING if row is None else (task.shard, row)
        self._deaths[place] += 1
        deaths, status = self._deaths[place], worker.process.exitcode
        if in_rows:
            self._skip.setdefault(task.shard, {})  # from now on row by row, also on a GPU
            if deaths >= _TRIES["killed" if code == "worker-died" and status == -signal.SIGKILL else code]:
                self._skip[task.shard][row or 0] = code
        elif deaths >= _DEATHS_OUTSIDE_ROWS:
            where = "loading the model" if row is None else "writing a shard"
            raise OSError(f"worker processes died {deaths} times while {where} (exit status {status}): out of memory?")
        self._again.append(task)

    def _check_time(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.task is not None and worker.row is not None and now - worker.last_sign > self.time_limit_s:
                self._lost(worker, stopping=False, code="timeout")

    def _check_memory(self) -> None:
        now = time.monotonic()
        if self.memory_limit is None or now - self._looked < _LOOK_S:
            return
        self._looked = now
        for worker in list(self._workers):
            if worker.row is not None and processes.memory_used(worker.process.pid) > self.memory_limit:
                self._lost(worker, stopping=False, code="out-of-memory")

    def _check_room(self, worker: _Worker) -> None:
        used = processes.memory_used(worker.process.pid)
        if self.memory_limit is not None and used + _LEAST_ROOM > self.memory_limit:
            message = (
                f"a worker takes {used / 1e9:.2f} GB with its model alone, the limit is {self.memory_limit / 1e9:.2f}"
            )
            raise ConfigError(f"{message}: take fewer workers or a higher memory limit")

    def _end(self, worker: _Worker) -> None:
        """Idle workers leave when their connection closes; those in the middle of something are killed."""
        worker.connection.close()
        if worker.task is not None or not worker.ready:
            processes.kill_children(worker.process.pid)
            worker.process.kill()
        worker.process.join(timeout=5)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()


def _start(process: Any) -> None:
    """Start a process. The server that forks it may have been killed, too: then a new one does."""
    for left in reversed(range(_STARTS)):
        try:
            process.start()
            break
        except (EOFError, ConnectionError):
            if not left:
                raise
