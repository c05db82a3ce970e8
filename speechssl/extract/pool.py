"""Local worker processes that run shards.

Differs from concurrent.futures: there a dead process breaks the whole pool and nobody knows what it worked on, and a
hanging one cannot be stopped. Here every worker has its own connection and says which row it has in hand. A row on
which a worker dies is tried once more with its shard in a fresh process; when that dies too the row is recorded as
"worker-died". A row without any sign of life for `time_limit_s` is recorded as "timeout" and its process killed.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from speechssl.extract.journal import ShardResult
from speechssl.extract.plan import Task
from speechssl.extract.worker import HEAVY, Settings, main

_GRACE_S = 5.0  # for shards in hand when a stop is asked for
_POLL_S = 0.2
_DEATHS_OUTSIDE_ROWS = 3  # while loading the model or closing files: more than that is no accident


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
    on_done: Callable[[ShardResult], None]
    on_progress: Callable[[int, float], None]  # rows and seconds of audio in shards that are in hand
    stop: Callable[[], bool]
    _workers: list[_Worker] = field(default_factory=list)
    _again: deque[Task] = field(default_factory=deque)
    _skip: dict[int, dict[int, str]] = field(default_factory=dict)  # shard: row: reason code
    _deaths: Counter[tuple[int, int | None]] = field(default_factory=Counter)

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
            if not idle:
                idle.append(self._start())
            self._give(idle.pop(), task)
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
        process.start()
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
            case ("beat", row, seconds):
                worker.row, worker.seconds = row, seconds
            case ("done", result):
                worker.task, worker.row, worker.seconds = None, None, 0.0
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
        self._skip.setdefault(task.shard, {})  # from now on row by row, also on a GPU
        in_rows = row is not None and row < len(task.rows)
        self._deaths[task.shard, row] += 1
        deaths = self._deaths[task.shard, row]
        if in_rows and (code == "timeout" or deaths >= 2):
            self._skip[task.shard][row or 0] = code
        elif not in_rows and deaths >= _DEATHS_OUTSIDE_ROWS:
            status = worker.process.exitcode
            where = "loading the model" if row is None else "writing a shard"
            raise OSError(f"worker processes died {deaths} times while {where} (exit status {status}): out of memory?")
        self._again.append(task)

    def _check_time(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if worker.task is not None and worker.row is not None and now - worker.last_sign > self.time_limit_s:
                self._lost(worker, stopping=False, code="timeout")

    def _end(self, worker: _Worker) -> None:
        """Idle workers leave when their connection closes; those in the middle of something are killed."""
        worker.connection.close()
        if worker.task is not None or not worker.ready:
            worker.process.kill()
        worker.process.join(timeout=5)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
